import copy
import io

import pytest

from corepress.errors import ConfigError
from corepress_plugins.coreml import (
    OpLinearQuantizerConfig,
    OpMagnitudePrunerConfig,
    OpPalettizerConfig,
    OpThresholdPrunerConfig,
    OptimizationConfig,
)

FOUR = OpPalettizerConfig(nbits=4)
TWO = OpPalettizerConfig(nbits=2)
TWO_OF_FOUR = OpMagnitudePrunerConfig(n_m_ratio=(2, 4))
EVERYTHING = OptimizationConfig(
    global_config=FOUR,
    op_type_configs={"linear": TWO, "gather": None, "conv": OpLinearQuantizerConfig(block_size=[0, 4])},
    op_name_configs={"conv_1": TWO_OF_FOUR, "conv_2": None},
)

DOCUMENT = """
config_type: OpPalettizerConfig
global_config:
  nbits: 4
op_type_configs:
  linear:
    nbits: 2
  gather: null
  conv:
    config_type: OpLinearQuantizerConfig
    block_size: [0, 4]
op_name_configs:
  conv_1:
    config_type: OpMagnitudePrunerConfig
    n_m_ratio: [2, 4]
  conv_2:
"""


def error(function, *args, **options):
    with pytest.raises(ConfigError) as raised:
        function(*args, **options)
    return str(raised.value)


def test_configurations_are_given_by_position_too():
    assert OptimizationConfig(FOUR, {"linear": TWO}, {"conv_1": None}) == OptimizationConfig(
        global_config=FOUR, op_type_configs={"linear": TWO}, op_name_configs={"conv_1": None}
    )


def test_without_configurations_it_is_empty():
    assert OptimizationConfig() == OptimizationConfig(None, {}, {}) == OptimizationConfig.from_dict({})


def test_setters_return_the_configuration():
    config = OptimizationConfig().set_global(FOUR).set_op_type("linear", TWO).set_op_name("conv_1", None)
    assert config == OptimizationConfig(FOUR, {"linear": TWO}, {"conv_1": None})


def test_a_later_setter_overrides_an_earlier_one():
    config = OptimizationConfig().set_op_name("conv_1", TWO)
    config.set_op_name("conv_1", FOUR)
    assert config == OptimizationConfig(op_name_configs={"conv_1": FOUR})


def test_a_setter_that_refuses_changes_nothing():
    config = OptimizationConfig(FOUR)
    assert error(config.set_op_type, "add", TWO_OF_FOUR) == (
        "OptimizationConfig: op_type_configs.add: block_size and n_m_ratio are for conv and linear only; "
        "name the constant in op_name_configs to prune it nevertheless"
    )
    assert config == OptimizationConfig(FOUR)


def test_setters_do_not_reach_into_the_given_mappings():
    types = {"linear": TWO}
    OptimizationConfig(FOUR, types).set_op_type("conv", FOUR)
    assert types == {"linear": TWO}


def test_blocks_are_for_convolutions_and_linear_layers():
    assert OptimizationConfig().set_op_type("conv", TWO_OF_FOUR).set_op_type("linear", TWO_OF_FOUR)
    assert OptimizationConfig().set_op_name("add_w", TWO_OF_FOUR)
    assert OptimizationConfig().set_op_type("add", OpMagnitudePrunerConfig(target_sparsity=0.5))


def test_constants_are_no_type():
    assert error(OptimizationConfig().set_op_type, "const", FOUR) == (
        "OptimizationConfig: op_type_configs.const: constants are configured by name, "
        "or by the type of the operation that reads them"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"global_config": 4}, "global_config: must be the options of OpCompressorConfig or null, got 4"),
        ({"global_config": {"nbits": 4}},
         "global_config: options need a configuration such as OpPalettizerConfig(...) around them"),
        ({"op_types": {}},
         "op_types: unknown option 'op_types' of OptimizationConfig; did you mean 'op_type_configs'?"),
        ({"op_name_configs": [FOUR]}, "op_name_configs: must be a mapping, got [OpPalettizerConfig"),
    ],
)  # fmt: skip
def test_what_is_no_configuration_is_refused(options, message):
    assert error(OptimizationConfig, **options).startswith(f"OptimizationConfig: {message}")


def test_a_document_is_read_from_a_path_and_from_a_stream(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(DOCUMENT)
    for source in (path, str(path), io.StringIO(DOCUMENT)):
        assert OptimizationConfig.from_yaml(source) == EVERYTHING


def test_what_is_written_is_read_back(tmp_path):
    assert OptimizationConfig.from_dict(EVERYTHING.as_dict()) == EVERYTHING
    assert OptimizationConfig.from_yaml(io.StringIO(EVERYTHING.to_yaml(tmp_path / "c.yaml"))) == EVERYTHING
    assert OptimizationConfig.from_yaml(tmp_path / "c.yaml") == EVERYTHING


@pytest.mark.parametrize(
    "config",
    [
        OpPalettizerConfig(mode="uniform", nbits=3, granularity="per_grouped_channel", group_size=4, channel_axis=1),
        OpPalettizerConfig(mode="unique", cluster_dim=2, weight_threshold=None),
        OpPalettizerConfig(nbits=8, enable_per_channel_scale=True, num_kmeans_workers=3),
        OpLinearQuantizerConfig(mode="linear", dtype="uint4", granularity="per_block", block_size=(1, 8)),
        OpThresholdPrunerConfig(threshold=0.1, minimum_sparsity_percentile=0.2, weight_threshold=0),
        OpMagnitudePrunerConfig(target_sparsity=0.3, block_size=2, dim=1),
        OpMagnitudePrunerConfig(n_m_ratio=(3, 4), dim=0),
    ],
)
def test_every_option_is_written_and_read_back(config):
    whole = OptimizationConfig(config, {"conv": config}, {"a.b": config})
    assert OptimizationConfig.from_yaml(io.StringIO(whole.to_yaml())) == whole


def test_the_given_data_are_not_touched():
    data = {
        "config_type": "OpPalettizerConfig",
        "global_config": {"config_type": "OpLinearQuantizerConfig", "mode": "LINEAR"},
        "op_type_configs": {"conv": {"nbits": 4}},
        "op_name_configs": None,
    }
    before = copy.deepcopy(data)
    assert OptimizationConfig.from_dict(data) == OptimizationConfig(
        OpLinearQuantizerConfig(mode="linear"), {"conv": FOUR}
    )
    assert data == before


def test_every_problem_of_a_file_is_told_with_its_line():
    document = (
        "config_type: OpPalettizerConfig\nglobal_config:\n  nbits: 5\nop_type_configs:\n  conv:\n    bits: 4\nx: 1\n"
    )
    assert error(OptimizationConfig.from_yaml, io.StringIO(document)).splitlines() == [
        "<yaml>: 3 problems",
        "  line 3, global_config.nbits: must be one of 1, 2, 3, 4, 6, 8, got 5",
        "  line 6, op_type_configs.conv.bits: unknown option 'bits' of OpPalettizerConfig; did you mean 'nbits'?",
        "  line 7, x: unknown option 'x' of OptimizationConfig; "
        "its options are global_config, op_type_configs, op_name_configs",
    ]


def test_a_class_is_required():
    names = (
        "OpPalettizerConfig, OpLinearQuantizerConfig, OpThresholdPrunerConfig, OpMagnitudePrunerConfig, "
        "OpActivationLinearQuantizerConfig"
    )
    assert error(OptimizationConfig.from_dict, {"global_config": {"nbits": 4}}) == (
        f"OptimizationConfig: global_config.config_type: a value is required; give one of {names}"
    )
    assert error(OptimizationConfig.from_dict, {"config_type": "Palettizer", "global_config": None}) == (
        f"OptimizationConfig: config_type: unknown configuration 'Palettizer'; give one of {names}"
    )
    assert error(OptimizationConfig.from_dict, {"config_type": [], "global_config": {}}).startswith(
        "OptimizationConfig: config_type: unknown configuration []"
    )
    assert error(OptimizationConfig.from_dict, []) == "OptimizationConfig: must be a mapping, got []"
