from corepress.testing import AlgorithmContract


class TestPostTrainingQuantization(AlgorithmContract):
    algorithm = "ptq"
    configs = (
        {},
        {"weight_dtype": "uint8", "quantization_scheme": "affine", "granularity": "per_tensor"},
        {"weight_dtype": "int4", "granularity": "per_block", "block_size": 4},
    )
