from corepress.testing import AlgorithmContract


class TestMagnitude(AlgorithmContract):
    algorithm = "magnitude"
    configs = (
        {},
        {"target_sparsity": 0.75, "granularity": "per_channel", "block_size": 2},
        {"target_sparsity": 0.5, "block_size": 4, "block_dim": 1},
        {"n_m_ratio": (2, 4)},
        {"scheduler": {"update_steps": [1, 2, 4]}, "target_sparsity": 0.9},
    )
