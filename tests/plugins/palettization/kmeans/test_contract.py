from corepress.testing import AlgorithmContract


class TestKMeans(AlgorithmContract):
    algorithm = "kmeans"
    configs = (
        {},
        {"n_bits": 2, "granularity": "per_grouped_channel", "group_size": 4},
        {"n_bits": 6, "lut_dtype": "int8", "enable_per_channel_scale": True},
        {"n_bits": 3, "enable_fast_kmeans_mode": False},
        {"n_bits": 2, "cluster_dim": 2, "channel_axis": 1},
        {"n_bits": 4, "granularity": "per_grouped_channel", "group_size": 1, "tensor_axis": -1},
    )
