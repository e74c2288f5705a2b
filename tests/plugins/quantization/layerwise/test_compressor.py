"""LayerwiseCompressor on whole models."""

import io

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.encoding import Affine, Dense, Palettized, Sparse
from corepress.errors import ConfigError, PlanError
from corepress.targets import torch_weights
from corepress_plugins.pruning import ModuleSparseGPTConfig
from corepress_plugins.quantization import (
    LayerwiseCompressor,
    LayerwiseCompressorConfig,
    ModuleGPTQConfig,
    PostTrainingQuantizer,
)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.up, self.down = nn.Linear(16, 48), nn.Linear(48, 16)

    def forward(self, x):
        x = self.norm(x + self.attention(x, x, x, need_weights=False)[0])
        return x + self.down(torch.relu(self.up(x)))


def seeded(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(8, 16), Block(), Block(), nn.Linear(16, 8)).eval()


@pytest.fixture
def model():
    return seeded(0)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(8, 8, generator=generator)
    return [torch.randn(4, 10, 8, generator=generator) @ mix for _ in range(6)]


def output_error(model, compressed, data):
    with torch.no_grad():
        outputs = [(model(batch), compressed(batch)) for batch in data]
    return float(sum((a - b).square().sum() for a, b in outputs) / sum(a.square().sum() for a, _ in outputs)) ** 0.5


def encodings(model):
    return {weight.name: weight.encoding() for weight in torch_weights(model)}


def test_it_beats_rounding_to_nearest(data):
    mine, nearest = 0.0, 0.0
    for model in map(seeded, range(4)):
        options = {"global_config": {"weight_dtype": "int3"}}
        mine += output_error(model, LayerwiseCompressor(model, options).compress(data), data)
        nearest += output_error(model, PostTrainingQuantizer(model, options).compress(), data)
    assert mine < 0.85 * nearest


def test_modules_have_algorithms_of_their_own(model, data):
    config = LayerwiseCompressorConfig.from_dict(
        {
            "global_config": {"algorithm": "gptq", "weight_dtype": 4},
            "module_name_configs": {
                "1.up": {"algorithm": "sparsegpt", "target_sparsity": 0.25},
                "1.down": {"algorithm": "gptq", "weight_dtype": 3, "palette": "kmeans"},
                "3": None,
            },
        }
    )
    compressor = LayerwiseCompressor(model, config)
    found = encodings(compressor.compress(data))
    assert isinstance(found["1.up.weight"], Sparse)
    assert isinstance(found["1.down.weight"], Palettized)
    assert isinstance(found["3.weight"], Dense)
    assert {name for name, one in found.items() if isinstance(one, Affine)} == {
        "0.weight",
        "1.attention.in_proj_weight",
        "1.attention.out_proj.weight",
        "2.attention.in_proj_weight",
        "2.attention.out_proj.weight",
        "2.up.weight",
        "2.down.weight",
    }
    assert compressor.report()["1.up.weight"].sparsity == 0.25


def test_without_a_configuration_everything_becomes_uint8(model, data):
    found = encodings(LayerwiseCompressor(model).compress(data))
    assert {one.dtype for one in found.values() if isinstance(one, Affine)} == {"uint8"}


@pytest.mark.parametrize("layers", ["modules", "module list", "names", "pattern"])
def test_only_what_is_in_the_layers_is_compressed(model, data, layers):
    given = {
        "modules": [model[1], model[2]],
        "module list": nn.ModuleList([model[1], model[2]]),
        "names": ["1", "2"],
        "pattern": ["[12]"],
    }[layers]
    config = LayerwiseCompressorConfig(global_config={"algorithm": "gptq"}, layers=given)
    found = encodings(LayerwiseCompressor(model, config).compress(data))
    assert {name for name, one in found.items() if not isinstance(one, Affine) and "norm" not in name} == {
        "0.weight",
        "3.weight",
    }


def test_a_model_that_is_a_single_layer_is_compressed():
    layer = nn.Linear(8, 4)
    compressed = LayerwiseCompressor(layer, {"global_config": {"weight_dtype": 4}}).compress([torch.randn(16, 8)])
    assert isinstance(encodings(compressed)["weight"], Affine)


@pytest.mark.parametrize("inplace", [False, True])
def test_the_model_itself_is_compressed_only_in_place(model, data, inplace):
    before = model[0].weight.detach().clone()
    compressed = LayerwiseCompressor(model).compress(data, "cpu", inplace)
    assert (compressed is model) is inplace
    assert torch.equal(model[0].weight, before) is not inplace


def test_results_do_not_depend_on_the_number_of_workers(model, data):
    one, three = (LayerwiseCompressor(model).compress(data, workers=workers) for workers in (1, 3))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), three.parameters(), strict=True))


def test_configurations_round_trip():
    config = LayerwiseCompressorConfig(
        global_config=ModuleGPTQConfig(weight_dtype=4, block_size=32),
        module_type_configs={"Conv2d": {"algorithm": "sparse_gpt", "n_m_ratio": [2, 4]}},
        module_name_configs={"head": None, "tail": [{"weight_threshold": 10}, {"weight_dtype": 3}]},
        calibration_nsamples=16,
        layers=["model.layers.*"],
        input_cacher="gpt",
    )
    assert isinstance(config.module_type_configs["Conv2d"], ModuleSparseGPTConfig)
    assert LayerwiseCompressorConfig.from_dict(config.as_dict()) == config
    assert LayerwiseCompressorConfig.from_yaml(io.StringIO(config.to_yaml())) == config
    stages = config.stages()
    assert list(stages) == ["sparse_gpt", "gptq"]
    assert all(stage.calibration_nsamples == 16 for stage in stages.values())
    assert stages["sparse_gpt"].global_config is None
    assert stages["gptq"].module_type_configs == {"Conv2d": None}


def test_setters_take_mappings_of_either_algorithm():
    config = (
        LayerwiseCompressorConfig().set_global({"algorithm": "sparse_gpt"}).set_module_name("a", {"weight_dtype": 4})
    )
    assert isinstance(config.global_config, ModuleSparseGPTConfig)
    assert isinstance(config.module_name_configs["a"], ModuleGPTQConfig)
    with pytest.raises(ConfigError, match=r"module_type_configs\.algorithm: must be 'gptq' or 'sparse_gpt', got 'awq'"):
        config.set_module_type("Linear", {"algorithm": "awq"})


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"global_config": {"algorithm": "awq"}}, "global_config.algorithm: must be 'gptq' or 'sparse_gpt', got 'awq'"),
        (
            {"module_name_configs": {"fc": {"algorithm": "sparse_gpt", "target_sparsity": 2}}},
            "module_name_configs.fc.target_sparsity: must be between 0 and 1, got 2.0",
        ),
        (
            {"global_config": [{"algorithm": "gptq"}, {"algorithm": "sparse_gpt", "weight_threshold": 9}]},
            "global_config: its entries have the algorithms gptq, sparse_gpt; give all of them the same",
        ),
        ({"global_config": 4}, "global_config: must be"),
        ({"input_cacher": "bert"}, "input_cacher: must be one of 'default', 'gpt', got 'bert'"),
    ],
)
def test_bad_options_are_named(config, text):
    with pytest.raises(ConfigError) as caught:
        LayerwiseCompressorConfig.from_dict(config)
    assert str(caught.value).startswith(text)


def test_bad_calls_say_what_to_do(model, data):
    with pytest.raises(ConfigError, match=r"layers: 'decoder' is no module of the model; .* are: 0, 1, 2, 3"):
        LayerwiseCompressor(model, {"layers": ["decoder"]})
    with pytest.raises(ConfigError, match="layers: Linear is no module of the model"):
        LayerwiseCompressor(model, {"layers": [nn.Linear(2, 2)]})
    with pytest.raises(PlanError, match=r"device is 'cuda', and the model is on cpu; .* or leave device out"):
        LayerwiseCompressor(model).compress(data, device="cuda")
    with pytest.raises(PlanError, match="device 'gpu7' is no device"):
        LayerwiseCompressor(model).compress(data, device="gpu7")
    with pytest.raises(PlanError, match="needs calibration data"):
        LayerwiseCompressor(model).compress()


@pytest.mark.parametrize("algorithm", ["gptq", "gptq_palette", "sparse_gpt"])
def test_a_rule_that_reaches_vectors_leaves_them_with_a_reason(algorithm, model):
    plan = Pipeline([Stage(algorithm, {"global_config": {"weight_threshold": 0}})]).plan(model)
    reasons = {row.name: row.reason for row in plan.rows}
    assert {row.name for row in plan.done} >= {"0.weight", "1.up.weight"}
    assert reasons["1.norm.weight"].startswith(f"{algorithm}: ")
