"""Lists of configurations, of which the size of a weight chooses one."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corepress.config import Match, ModuleConfig, Rule, entries, for_count
from corepress.errors import ConfigError

LEVELS = ("global_config", "module_type_configs", "module_name_configs")


def at(level, value):
    return {level: value if level == "global_config" else {"fc": value}}


def complaint(function, *arguments, **options):
    with pytest.raises(ConfigError) as caught:
        function(*arguments, **options)
    return str(caught.value)


def chosen(thresholds, count):
    """Return the threshold of the entry that a weight gets, and the rule."""
    configs = tuple(ModuleConfig(weight_threshold=threshold) for threshold in thresholds)
    match = for_count(Match(configs, Rule("global", None, "global_config")), count)
    return match.config.weight_threshold, str(match.rule)


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_takes_a_list_in_any_form(sample, level):
    data = [{"target_sparsity": 0.75, "weight_threshold": 1000}, {"weight_threshold": 400}]
    made = tuple(sample.Module(**options) for options in data)
    config = sample.Pruner(**at(level, list(made)))
    assert config == sample.Pruner(**at(level, (made[0], data[1])))
    assert config == sample.Pruner.from_dict(at(level, data))
    assert tuple(config.module_configs()) == made
    assert config.as_dict()[level] == at(level, [entry.as_dict() for entry in made])[level]
    assert sample.Pruner.from_dict(config.as_dict()) == config
    assert sample.Pruner.from_yaml(io.StringIO(config.to_yaml())) == config


def test_setters_take_lists(sample):
    several = [{"weight_threshold": 9}, sample.Module()]
    made = (sample.Module(weight_threshold=9), sample.Module())
    config = sample.Pruner().set_global(several).set_module_type("Linear", several)
    assert config.set_module_name("fc", several).module_name_configs == {"fc": made}
    assert (config.global_config, config.module_type_configs) == (made, {"Linear": made})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], ": a list needs an entry; give null to leave weights alone"),
        (
            [{}, None],
            "[1]: an entry of a list cannot be null; "
            "give the other entries a weight_threshold to leave smaller weights alone",
        ),
        (
            [{"weight_threshold": 400}, {}, {"weight_threshold": 400}],
            "[2]: it is for weights of more than 400 elements, as entry 0 is; "
            "give each entry a weight_threshold of its own",
        ),
        (
            [{}, {"weight_threshold": 0}],
            "[1]: it is for weights of more than 0 elements, as entry 0 is; "
            "give each entry a weight_threshold of its own",
        ),
        ([{}, 3], "[1]: must be a mapping of the options of ModulePrunerConfig, got 3"),
        ([{}, {"target_sparsity": 2}], "[1].target_sparsity: must be between 0 and 1, got 2.0"),
    ],
)
@pytest.mark.parametrize("level", LEVELS)
def test_a_list_that_cannot_be_meant_is_answered_with_the_way_out(sample, level, value, text):
    path = level if level == "global_config" else f"{level}.fc"
    assert complaint(sample.Pruner, **at(level, value)) == f"PrunerConfig: {path}{text}"
    assert complaint(sample.Pruner.from_dict, at(level, value)) == f"{path}{text}"
    setters = {"global_config": "set_global", LEVELS[1]: "set_module_type", LEVELS[2]: "set_module_name"}
    arguments = (value,) if level == "global_config" else ("fc", value)
    assert complaint(getattr(sample.Pruner(), setters[level]), *arguments) == f"PrunerConfig: {path}{text}"


def test_every_problem_of_a_list_has_its_index_and_line(sample):
    text = """\
global_config:
- target_sparsity: 0.5
- exat: true
module_name_configs:
  fc:
  - {weight_threshold: 9, target_sparsity: 2}
  - null
  conv:
  - weight_threshold: 9
  - weight_threshold: 9
"""
    assert complaint(sample.Pruner.from_yaml, io.StringIO(text)) == (
        "<yaml>: 3 problems\n"
        "  line 3, global_config[1].exat: unknown option 'exat' of ModulePrunerConfig; did you mean 'exact'?\n"
        "  line 7, module_name_configs.fc[1]: an entry of a list cannot be null; "
        "give the other entries a weight_threshold to leave smaller weights alone\n"
        "  line 10, module_name_configs.conv[1]: it is for weights of more than 9 elements, as entry 0 is; "
        "give each entry a weight_threshold of its own"
    )


def test_an_entry_knows_its_line_until_a_setter_replaces_the_list(sample):
    config = sample.Pruner.from_yaml(io.StringIO("global_config:\n- weight_threshold: 9\n- exact: false\n"))
    assert config.origin("global_config[1]") == "<yaml>, line 3"
    config.set_global({})
    assert config.origin("global_config[1]") is None


def test_an_empty_list_is_not_taken_for_an_empty_level(sample):
    assert complaint(sample.Pruner, module_type_configs=[]) == (
        "PrunerConfig: module_type_configs: must be a mapping, got []"
    )


def test_the_entry_with_the_largest_threshold_that_is_exceeded_wins():
    assert chosen([1000, 400], 2400) == (1000, "global_config[0]")
    assert chosen([1000, 400], 1000) == (400, "global_config[1]")
    assert chosen([1000, None], 1) == (None, "global_config[1]")


def test_where_none_is_exceeded_the_smallest_decides():
    assert chosen([1000, 400], 400) == (400, "global_config[1]")


@given(st.permutations([None, 3, 50, 400]), st.integers(0, 500))
def test_the_order_of_a_list_does_not_matter(thresholds, count):
    assert chosen(thresholds, count)[0] == chosen([None, 3, 50, 400], count)[0]


def test_one_configuration_and_none_are_left_as_they_are():
    for config in (None, ModuleConfig(weight_threshold=5)):
        match = Match(config, Rule("name", "fc", "module_name_configs"))
        assert for_count(match, 3) is match


def test_the_path_of_a_rule_leads_to_the_entry():
    rule = Rule("name", "fc", "module_name_configs", entry=2)
    assert (rule.path, str(rule)) == ("module_name_configs.fc[2]", "module_name_configs['fc'][2]")


def test_entries_are_the_configurations_of_a_level():
    one, other = ModuleConfig(), ModuleConfig(weight_threshold=3)
    assert (entries(None), entries(one), entries([one, other])) == ((), (one,), (one, other))
