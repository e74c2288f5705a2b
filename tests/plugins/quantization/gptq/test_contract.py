from corepress.testing import AlgorithmContract


class TestGPTQ(AlgorithmContract):
    algorithm = "gptq"
    configs = (
        {},
        {"weight_dtype": "int4", "granularity": "per_tensor", "use_activation_order_heuristic": True},
        {"weight_dtype": "uint3", "quantization_scheme": "affine", "granularity": "per_block", "block_size": 4},
    )


class TestGPTQPalette(AlgorithmContract):
    algorithm = "gptq_palette"
    configs = ({"weight_dtype": "uint3"}, {"weight_dtype": "uint4", "enable_normal_float": True})
