from tests.networks.residual import ResidualNetwork

from corepress.testing import AlgorithmContract, ConvolutionalNetwork, TiedNetwork


class TestLinearQAT(AlgorithmContract):
    algorithm = "linear_qat"
    models = (ConvolutionalNetwork, TiedNetwork, ResidualNetwork)
    acts_at_once = True
    configs = (
        {},
        {"quantization_scheme": "affine", "weight_dtype": "uint4", "fold_batch_norm": False},
        {"algorithm": "learnable", "weight_dtype": "int4", "block_size": 4},
        {"algorithm": "learnable", "quantization_scheme": "affine", "weight_per_channel": False},
        {"milestones": [0, 1, 2, 3], "weight_observer": "min_max", "activation_observer": "histogram"},
        {"activation_dtype": "float32", "weight_observer": "mse"},
    )
