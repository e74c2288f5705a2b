from corepress.testing import AlgorithmContract


class TestDKM(AlgorithmContract):
    algorithm = "dkm"
    acts_at_once = True
    configs = (
        {"weight_threshold": 0},
        {"weight_threshold": 0, "n_bits": 3, "granularity": "per_grouped_channel", "group_size": 2, "lut_dtype": "i8"},
        {"weight_threshold": 0, "n_bits": 2, "cluster_dim": 2, "gradient": "fixed_point"},
        {"weight_threshold": 0, "enable_per_channel_scale": True, "enforce_zero": True, "milestone": 1},
    )
