import pytest

from corepress.errors import ConfigError
from corepress_plugins.palettization import ModuleUniformPalettizerConfig


def test_one_table_of_sixteen_entries_is_the_default():
    assert ModuleUniformPalettizerConfig().as_dict() == {
        "weight_threshold": None,
        "granularity": "per_tensor",
        "group_size": None,
        "channel_axis": 0,
        "tensor_axis": None,
        "n_bits": 4,
    }


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"n_bits": 5}, "n_bits: must be one of 1, 2, 3, 4, 6, 8, got 5"),
        ({"tensor_axis": 1.0}, "tensor_axis: must be an integer, got 1.0"),
        ({"group_size": 4}, "group_size: 4 needs granularity per_grouped_channel; it is per_tensor"),
        ({"granularity": "per_grouped_channel"}, "group_size: granularity per_grouped_channel needs a group_size"),
    ],
)
def test_bad_options_are_named(options, text):
    with pytest.raises(ConfigError) as caught:
        ModuleUniformPalettizerConfig(**options)
    assert str(caught.value) == f"ModuleUniformPalettizerConfig: {text}"


def test_entries_are_scalars():
    with pytest.raises(ConfigError, match="unknown option 'cluster_dim' of ModuleUniformPalettizerConfig"):
        ModuleUniformPalettizerConfig(cluster_dim=2)
