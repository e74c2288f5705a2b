"""The post-training quantization examples of the reference documentation, with their import lines changed."""

import coremltools as ct
import pytest
import torch

from corepress import coreml
from corepress_plugins.quantization import PostTrainingQuantizer, PostTrainingQuantizerConfig


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 128, 3), torch.nn.ReLU(), torch.nn.Conv2d(128, 16, 3), torch.nn.Linear(28, 10)
        ).eval()


def converted(model):
    traced_model = torch.jit.trace(model, torch.rand(1, 3, 32, 32))
    return ct.convert(
        traced_model,
        inputs=[ct.TensorType(shape=(1, 3, 32, 32))],
        minimum_deployment_target=ct.target.iOS18,
        skip_model_load=True,
    )


def test_data_free_quantization_in_blocks(model, op_types):
    config = PostTrainingQuantizerConfig.from_dict(
        {
            "global_config": {
                "weight_dtype": "int8",
                "granularity": "per_block",
                "block_size": 128,
            },
            "module_type_configs": {torch.nn.Linear: None},
        }
    )
    quantizer = PostTrainingQuantizer(model, config)
    quantized_model = quantizer.compress()

    report = quantizer.report()
    assert (
        report["0.weight"].reason
        == "rtn: block_size 128 does not divide axis 1, which has 3 elements, and block_fallback is 'skip'"
    )
    assert report["2.weight"].status == "compressed"
    assert report["3.weight"].status == "left"
    assert quantized_model[2].state_dict()["_COREML_/weight/quantization_scale"].shape == (16, 1, 1, 1)
    mlmodel = converted(quantized_model)
    assert op_types(mlmodel) == {"constexpr_blockwise_shift_scale"}
    coreml.verify(mlmodel, quantized_model)


@pytest.mark.parametrize("block_size", [32, (4, 32), [1, 64]])
@pytest.mark.parametrize("weight_dtype", ["int4", "uint4", torch.int8])
def test_the_stock_converter_reads_what_was_written(model, block_size, weight_dtype):
    options = {"weight_dtype": weight_dtype, "granularity": "per_block", "block_size": block_size}
    config = {"module_name_configs": {"2": options | {"quantization_scheme": "affine"}}}
    quantized_model = PostTrainingQuantizer(model, config).compress()
    coreml.verify(converted(quantized_model), quantized_model)
