from corepress.testing import AlgorithmContract

FUNCTIONS = "tests.plugins.palettization.custom.functions"


class TestCustom(AlgorithmContract):
    algorithm = "custom"
    configs = (
        {"lut_function": f"{FUNCTIONS}:thirds"},
        {"lut_function": f"{FUNCTIONS}:thirds", "granularity": "per_grouped_channel", "group_size": 4},
        {"lut_function": f"{FUNCTIONS}:corners", "cluster_dim": 2},
    )
