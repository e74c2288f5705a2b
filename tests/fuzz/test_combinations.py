"""Any algorithms, one after another, with any options, on layers of every kind: refused in the plan, or exact."""

import random

import pytest
import torch
from tests.fuzz.counts import count
from torch import nn

from corepress import Pipeline, Stage
from corepress.coreml import convert, verify
from corepress.errors import CorepressError

BATCHES = 4

TABLES = {
    "n_bits": [1, 2, 3, 4, 6, 8],
    "granularity": ["per_tensor", "per_grouped_channel"],
    "group_size": [1, 2, 3, 4, 8],
    "channel_axis": [0, 1],
}
VECTORS = TABLES | {"cluster_dim": [1, 2, 4], "enable_per_channel_scale": [False, True], "lut_dtype": [None, "int8"]}
INTEGERS = {
    "weight_dtype": ["int2", "int3", "int4", "uint4", "int6", "int8", "uint8"],
    "granularity": ["per_tensor", "per_channel", "per_block"],
    "block_size": [2, 3, 4, [2, 4]],
    "quantization_scheme": ["symmetric", "affine", "symmetric_with_zero_point"],
}
ZEROS = {"target_sparsity": [0.3, 0.5, 0.75, 0.9], "n_m_ratio": [None, [1, 2], [2, 4], [3, 4]]}
OPTIONS = {
    "kmeans": VECTORS,
    "skm": VECTORS,
    "uniform": TABLES,
    "gptq_palette": TABLES,
    "rtn": INTEGERS | {"block_fallback": ["skip", "per_channel"]},
    "gptq": INTEGERS,
    "magnitude": ZEROS | {"granularity": ["per_scalar", "per_channel", "per_kernel"], "block_size": [None, 2, 4]},
    "sparse_gpt": ZEROS,
    "threshold": {"threshold": [0.01, 0.1]},
}
TRAINED = {
    "magnitude": ZEROS | {"scheduler": [{"update_steps": [0, 1, 2]}], "granularity": ["per_scalar", "per_channel"]},
    "dkm": TABLES | {"cluster_dim": [1, 2], "quantize_activations": [False, True]},
    "linear_qat": {
        "weight_dtype": ["int4", "int6", "int8", "uint8"],
        "block_size": [2, 4],
        "milestones": [None, [0, 1, 2, 3]],
        "activation_dtype": ["float32", "int8", "uint8"],
    },
    "rtn": INTEGERS,
    "kmeans": VECTORS,
    "activation": {},
}
TYPES = ("LSTM", "GRU", "RNN", "Embedding", "Linear", "Conv2d", "ConvTranspose2d")


class Text(nn.Module):
    """A tied embedding, position embeddings, attention and normalization."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(40, 16), nn.Parameter(torch.randn(1, 6, 16))
        self.mix, self.norm = nn.MultiheadAttention(16, 4, batch_first=True), nn.LayerNorm(16)
        self.out = nn.Linear(16, 40, bias=False)
        self.out.weight = self.words.weight

    def forward(self, tokens):
        x = self.words(tokens) + self.places
        return self.out(self.norm(x + self.mix(x, x, x, need_weights=False)[0]))


class Waves(nn.Module):
    """Convolutions of one axis, also grouped and transposed, and a bilinear layer."""

    def __init__(self):
        super().__init__()
        self.first, self.grouped = nn.Conv1d(8, 12, 3), nn.Conv1d(12, 12, 3, groups=3)
        self.up, self.both = nn.ConvTranspose1d(12, 6, 4, stride=2), nn.Bilinear(6, 6, 5)

    def forward(self, x):
        y = self.up(self.grouped(torch.relu(self.first(x)))).transpose(1, 2)
        return self.both(y, y)


class Recurrent(nn.Module):
    def __init__(self, layer, width):
        super().__init__()
        self.layer, self.out = layer, nn.Linear(width, 6)

    def forward(self, x):
        return self.out(self.layer(x)[0])


def images():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, groups=4, padding=1),
        nn.Conv2d(16, 16, 3, groups=16, padding=1),
        nn.ConvTranspose2d(16, 8, 2, stride=2),
        nn.ConvTranspose2d(8, 8, 3, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


STEPS = (5, 1, 8)
NETWORKS = {
    "text": lambda: (Text(), torch.randint(0, 40, (1, 6))),
    "waves": lambda: (Waves(), torch.randn(1, 8, 14)),
    "images": lambda: (images(), torch.randn(1, 3, 8, 8)),
    "LSTM": lambda: (Recurrent(nn.LSTM(8, 12, 2, bidirectional=True), 24), torch.randn(STEPS)),
    "projections": lambda: (Recurrent(nn.LSTM(8, 12, proj_size=6), 6), torch.randn(STEPS)),
    "GRU": lambda: (Recurrent(nn.GRU(8, 12, 2), 12), torch.randn(STEPS)),
    "RNN": lambda: (Recurrent(nn.RNN(8, 12, bidirectional=True), 24), torch.randn(STEPS)),
}

pytestmark = pytest.mark.filterwarnings("ignore")


def stages(numbers, known):
    """Return one to three stages with random options, for all weights and sometimes for types of layers."""
    found = []
    for algorithm in numbers.choices(list(known), k=numbers.choice([1, 1, 2, 2, 3])):
        given = [name for name in known[algorithm] if numbers.random() < 0.5]
        options = {name: numbers.choice(known[algorithm][name]) for name in given}
        if numbers.random() < 0.7 and algorithm != "activation":
            options["weight_threshold"] = 0
        types = {key: options for key in numbers.sample(TYPES, 2) if numbers.random() < 0.3}
        found.append(Stage(algorithm, {"global_config": options, "module_type_configs": types}))
    return found


def compressed(network, inputs, recipe):
    """Plan and compress; return the network and the bytes of each weight, or None for what the plan refuses."""
    try:
        pipeline = Pipeline(recipe)
        planned = pipeline.plan(network)
    except CorepressError:
        return None
    small = pipeline.compress(network, data=[(inputs,)] * 2, loss_fn=lambda model, batch: model(*batch).square().sum())
    done = {row.name: row.bytes_after for row in pipeline.report().done}
    # Only values tell `threshold` whether a weight gets enough zeros.
    assert done.keys() <= {row.name for row in planned.done}
    return small, done


def trained(network, inputs, recipe):
    """Prepare, train and finalize; return the network, or None for what `prepare` refuses."""
    try:
        pipeline = Pipeline(recipe)
        prepared = pipeline.prepare(network, example_inputs=(inputs,))
    except CorepressError:
        return None
    optimizer = torch.optim.SGD(prepared.parameters(), 1e-3)
    for _ in range(4):
        optimizer.zero_grad()
        prepared(inputs).square().mean().backward()
        optimizer.step()
        pipeline.step()
    return pipeline.finalize(data=[(inputs,)] * 2).eval(), {}


def require_exact(small, done, inputs):
    """Export and verify."""
    outcome = verify(convert(small, inputs), small, inputs, tolerance=0.2)
    for row in outcome.weights:
        assert row.result.startswith("equal") or row.result == "not used by the program", row
        if row.name in done and row.equal:
            # Each constant ends with a whole byte.
            assert abs(done[row.name] - row.nbytes) < 8, row


@pytest.mark.parametrize("way", ["compressed", "trained"])
@pytest.mark.parametrize("batch", range(BATCHES))
def test_what_is_accepted_is_finished_exported_and_exact(batch, way):
    make, known = {"compressed": (compressed, OPTIONS), "trained": (trained, TRAINED)}[way]
    numbers = random.Random(f"{way} {batch}")
    accepted = 0
    for case in range(count(12, 600)):
        torch.manual_seed(case)
        network, inputs = NETWORKS[numbers.choice(list(NETWORKS))]()
        recipe = stages(numbers, known)
        try:
            made = make(network.eval(), inputs, recipe)
            if made is not None:
                require_exact(*made, inputs)
                accepted += 1
        except Exception as error:
            raise AssertionError(f"{error}\n{type(network).__name__}: {Pipeline(recipe).to_yaml()}") from error
    assert accepted
