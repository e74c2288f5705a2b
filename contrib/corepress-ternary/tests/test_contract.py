from corepress.testing import AlgorithmContract


class TestTernary(AlgorithmContract):
    algorithm = "ternary"
    configs = ({}, {"granularity": "per_channel"}, {"threshold": 0.0})
