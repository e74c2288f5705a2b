from corepress.testing import AlgorithmContract


class TestUniform(AlgorithmContract):
    algorithm = "uniform"
    configs = (
        {},
        {"n_bits": 2, "granularity": "per_grouped_channel", "group_size": 4},
        {"n_bits": 8, "granularity": "per_grouped_channel", "group_size": 1, "tensor_axis": -1},
    )
