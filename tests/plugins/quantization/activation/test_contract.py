from corepress.testing import AlgorithmContract


class TestActivationQuantization(AlgorithmContract):
    algorithm = "activation"
    configs = (
        {},
        {"quantization_scheme": "affine"},
        {"dtype": "uint8"},
        {"dtype": "uint8", "quantization_scheme": "affine"},
    )
