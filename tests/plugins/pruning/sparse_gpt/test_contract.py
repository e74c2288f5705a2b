from corepress.testing import AlgorithmContract


class TestSparseGPT(AlgorithmContract):
    algorithm = "sparse_gpt"
    configs = ({}, {"target_sparsity": 0.25, "sparsity_block_size": 2}, {"weight_dtype": "int8"})
