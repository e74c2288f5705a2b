"""The same on a GPU: one-shot compression, training, and export of what was trained there."""

import pytest
import torch
from tests.networks.residual import ResidualNetwork

from corepress import Pipeline, Stage, load_state
from corepress.coreml import convert, verify

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.filterwarnings("ignore:.*weights were skipped"),
]
TWO_BITS = {"n_bits": 2, "weight_threshold": 0}
TRAINING = {
    "sparse W4A8": [("magnitude", {"target_sparsity": 0.5}), ("linear_qat", {"weight_dtype": "int4"})],
    "learned": [("linear_qat", {"algorithm": "learnable", "weight_dtype": "int4"})],
    "histogram": [("linear_qat", {"activation_observer": "histogram"})],
    "sparse palettes A8": [
        ("magnitude", {"target_sparsity": 0.5}),
        ("dkm", TWO_BITS),
        ("linear_qat", {"weight_dtype": "float32"}),
    ],
    "palettes of integers": [("dkm", TWO_BITS), ("linear_qat", {})],
    "vectors": [("dkm", TWO_BITS | {"cluster_dim": 2})],
    "scaled palettes": [("dkm", {"n_bits": 4, "weight_threshold": 0, "enable_per_channel_scale": True})],
}
ONE_SHOT = {
    "rtn": {"weight_dtype": "int4"},
    "kmeans": {"n_bits": 4},
    "gptq": {"weight_dtype": "int4"},
    "sparse_gpt": {"target_sparsity": 0.5},
    "activation": {},
    "magnitude": {"target_sparsity": 0.5},
    "skm": {"n_bits": 4},
    "gptq_palette": {"palette": "kmeans", "weight_dtype": "uint4"},
}


def pipeline_of(stages):
    return Pipeline([Stage(name, {"global_config": options}) for name, options in stages])


def loss(model, batch):
    return model(*batch).square().mean()


def assert_exports(finished, batch):
    finished = finished.cpu()
    verify(convert(finished, batch, minimum_deployment_target="iOS18"), finished, batch)


@pytest.mark.parametrize("kind", TRAINING)
def test_a_model_is_trained_on_the_gpu_and_exported(kind):
    model = ResidualNetwork().cuda()
    batch = tuple(tensor.cuda() for tensor in model.batches()[0])
    run = pipeline_of(TRAINING[kind]).begin(model, batch)
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        run.model(*batch).square().mean().backward()
        optimizer.step()
        run.step()
    shown = run.model.eval()(*batch)
    finished = run.finalize()
    assert next(finished.parameters()).is_cuda
    torch.testing.assert_close(finished(*batch), shown, rtol=1e-3, atol=1e-3)
    assert_exports(finished, tuple(tensor.cpu() for tensor in batch))


@pytest.mark.parametrize("algorithm", ONE_SHOT)
def test_a_model_on_the_gpu_is_compressed_at_once(algorithm):
    model = ResidualNetwork().eval().cuda()
    batches = [tuple(tensor.cuda() for tensor in batch) for batch in model.batches()]
    small = pipeline_of([(algorithm, ONE_SHOT[algorithm])]).compress(model, data=batches, loss_fn=loss)
    assert next(small.parameters()).is_cuda
    assert_exports(small, tuple(tensor.cpu() for tensor in batches[0]))


def test_palettes_on_the_gpu_are_compressed_further_and_loaded_into_a_fresh_model():
    model = ResidualNetwork().eval().cuda()
    small = pipeline_of([("magnitude", {"target_sparsity": 0.5}), ("kmeans", {"n_bits": 4})]).compress(model)
    again = pipeline_of([("rtn", {})]).compress(small)
    fresh = load_state(ResidualNetwork().eval().cuda(), again.state_dict())
    batch = tuple(tensor.cuda() for tensor in model.batches()[0])
    torch.testing.assert_close(fresh(*batch), again(*batch))
    assert_exports(fresh, model.batches()[0])


@pytest.mark.parametrize("layer", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
@pytest.mark.parametrize("algorithm", ["kmeans", "rtn", "gptq", "linear_qat", "dkm"])
def test_recurrent_layers_are_compressed_on_the_gpu_and_exported(algorithm, layer):
    torch.manual_seed(0)
    model, batch = layer(8, 16, 2).cuda(), (torch.rand(5, 2, 8, device="cuda"),)
    pipeline = pipeline_of([(algorithm, TWO_BITS if algorithm == "dkm" else {})])
    if algorithm not in ("linear_qat", "dkm"):
        finished = pipeline.compress(model, data=[batch])
    else:
        run = pipeline.begin(model, batch)
        for _ in range(2):
            run.model(*batch)[0].square().sum().backward()
            run.step()
        finished = run.finalize()
    assert finished.weight_hh_l1.is_cuda
    assert_exports(finished, tuple(tensor.cpu() for tensor in batch))
