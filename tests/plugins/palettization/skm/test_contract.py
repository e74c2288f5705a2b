from corepress.testing import AlgorithmContract


class TestSensitiveKMeans(AlgorithmContract):
    algorithm = "skm"
    configs = (
        {},
        {"n_bits": 2, "granularity": "per_grouped_channel", "group_size": 4, "per_sample": True},
        {"n_bits": 6, "lut_dtype": "int8", "enable_per_channel_scale": True},
        {"n_bits": 2, "cluster_dim": 2, "channel_axis": 1},
    )
