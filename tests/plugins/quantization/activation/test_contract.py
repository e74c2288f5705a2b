from corepress.testing import AlgorithmContract


class TestActivation(AlgorithmContract):
    algorithm = "activation"
    configs = ({}, {"quantization_scheme": "affine", "dtype": "uint8"})
