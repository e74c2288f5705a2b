from corepress.testing import AlgorithmContract


class TestPostTrainingQuantization(AlgorithmContract):
    algorithm = "rtn"
    configs = (
        {},
        {"weight_dtype": "uint8", "quantization_scheme": "affine", "granularity": "per_tensor"},
        {"weight_dtype": "int4", "granularity": "per_block", "block_size": 4},
        {"weight_dtype": "int2", "range": "mse"},
        {"weight_dtype": "uint3", "range": "mse", "granularity": "per_block", "block_size": 4},
        {"weight_dtype": "int6", "quantization_scheme": "affine"},
    )
