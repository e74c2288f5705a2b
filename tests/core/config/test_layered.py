import copy
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corepress.config import load_yaml, structure
from corepress.errors import ConfigError


class Linear:
    """Stands for a module class."""


def test_an_empty_configuration_is_the_default_for_everything(sample):
    for config in (sample.Pruner(), sample.Pruner.from_dict({}), sample.Pruner.from_yaml(io.StringIO(""))):
        assert config.global_config == sample.Module()
        assert (config.module_type_configs, config.module_name_configs, config.samples) == ({}, {}, 128)


def test_options_of_its_own_leave_the_default_in_place(sample):
    assert sample.Pruner(samples=3).global_config == sample.Module()


def test_a_null_section_is_an_empty_one(sample):
    text = "global_config:\nmodule_type_configs:\nmodule_name_configs:\n"
    assert sample.Pruner.from_yaml(io.StringIO(text)) == sample.Pruner()


def test_what_only_names_mention_leaves_the_other_levels_empty(sample):
    config = sample.Pruner(module_name_configs={"fc": {"target_sparsity": 0.7}})
    assert config.global_config is None
    assert config.module_type_configs == {}
    assert config.module_name_configs == {"fc": sample.Module(target_sparsity=0.7)}


def test_setters_change_the_configuration_and_return_it(sample):
    config = sample.Pruner()
    assert config.set_global(sample.Module(exact=False)) is config
    assert config.set_module_type(Linear, None) is config
    assert config.set_module_name("fc1", {"exact": True}) is config
    assert config.global_config == sample.Module(exact=False)
    assert list(config.module_type_configs) == [f"{Linear.__module__}.Linear"]
    assert config.module_name_configs == {"fc1": sample.Module()}


def test_excluding_a_name_keeps_the_default_for_the_rest(sample):
    config = sample.Pruner().set_module_name("fc1", None)
    assert config.global_config == sample.Module()
    assert config.module_name_configs == {"fc1": None}


def test_a_key_that_is_set_again_is_overridden_in_its_place(sample):
    config = sample.Pruner().set_module_name("b", None).set_module_name("a", None).set_module_name("b", {})
    assert list(config.module_name_configs.items()) == [("b", sample.Module()), ("a", None)]


def test_a_setter_that_refuses_changes_nothing(sample):
    config = sample.Pruner().set_module_name("fc", None)
    before = copy.deepcopy(config)
    for setter, arguments, expected in [
        (config.set_global, (3,), "global_config: must be the options of ModulePrunerConfig or a list or null, got 3"),
        (config.set_module_type, ("Linear", 3), "module_type_configs.Linear: must be the options of"),
        (config.set_module_type, ("", None), "a key must not be empty"),
        (config.set_module_name, (3, None), "must be a string, got 3; write '3' in quotes"),
        (config.set_module_name, ("a(", None), r"'a\(' is not a valid regular expression: missing \)"),
        (config.set_module_name, ("a", {"target_sparsity": 2}), "configs.a.target_sparsity: must be between 0 and 1"),
        (config.set_module_name, ("a", {"param_name": "bias"}), "param_name must be the same everywhere"),
    ]:
        with pytest.raises(ConfigError, match=expected):
            setter(*arguments)
        assert config == before


def test_levels_that_are_assigned_are_checked(sample):
    config = sample.Pruner(module_name_configs={"a": None})
    config.global_config = {"target_sparsity": 0.25}
    assert config.global_config == sample.Module(target_sparsity=0.25)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        config.global_config = {"target_sparsity": 2}
    with pytest.raises(AttributeError, match=r"unknown option 'globl_config' of .*; did you mean 'global_config'"):
        config.globl_config = None
    assert config.global_config == sample.Module(target_sparsity=0.25)
    config.global_config.target_sparsity = 0.5
    assert config.global_config == sample.Module(target_sparsity=0.5)


def test_a_type_is_found_by_its_class_and_by_its_name(sample):
    config = sample.Pruner(module_type_configs={Linear: {"target_sparsity": 0.25}})
    assert config.module_type_configs[Linear] is config.module_type_configs[f"{Linear.__module__}.Linear"]
    assert Linear in config.module_type_configs
    assert config.module_type_configs.get(int) is None
    with pytest.raises(KeyError):
        config.module_type_configs[int]
    assert sample.Pruner.from_dict(config.as_dict()) == config
    assert type(config.as_dict()["module_type_configs"]) is dict


def test_a_configuration_of_another_algorithm_is_refused(sample):
    with pytest.raises(ConfigError, match="ModulePrunerConfig or a list or null, got ConstantScheduler"):
        sample.Pruner(global_config=sample.Constant(begin_step=0))


def test_one_class_given_as_class_and_as_its_full_name_is_given_twice(sample):
    key = f"{Linear.__module__}.Linear"
    with pytest.raises(ConfigError, match=f"'{key}' is given twice; keep one"):
        sample.Pruner(module_type_configs={Linear: None, key: None})


def test_copies_do_not_share_their_sections(sample):
    config = sample.Pruner()
    other = config.evolve(samples=2).set_module_name("fc", None)
    assert config.module_name_configs == {}
    assert (other.samples, other.module_name_configs) == (2, {"fc": None})


RECIPE = """\
global_config:
  target_sparsty: 0.5
module_type_configs:
  Linear:
    target_sparsity: 2
    n_m_ratio: 3
module_name_configs:
  "a(": null
  3: null
sample: 3
"""


def test_every_problem_of_a_file_is_reported_with_its_line(sample, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(RECIPE)
    with pytest.raises(ConfigError) as caught:
        sample.Pruner.from_yaml(path)
    assert str(caught.value) == (
        "config.yaml: 6 problems\n"
        "  line 2, global_config.target_sparsty: unknown option 'target_sparsty' of ModulePrunerConfig; "
        "did you mean 'target_sparsity'?\n"
        "  line 5, module_type_configs.Linear.target_sparsity: must be between 0 and 1, got 2.0\n"
        "  line 6, module_type_configs.Linear.n_m_ratio: must be a list or null, got 3\n"
        "  line 8, module_name_configs.a(: 'a(' is not a valid regular expression: "
        "missing ), unterminated subpattern at position 1\n"
        "  line 9, module_name_configs.3: must be a string, got 3; write '3' in quotes\n"
        "  line 10, sample: unknown option 'sample' of PrunerConfig; did you mean 'samples'?"
    )


def test_one_problem_takes_one_line(sample):
    with pytest.raises(ConfigError) as caught:
        sample.Pruner.from_yaml(io.StringIO("samples: 0\n"))
    assert str(caught.value) == "<yaml>: line 1, samples: must be at least 1, got 0"
    with pytest.raises(ConfigError) as caught:
        sample.Pruner.from_dict({"samples": 0})
    assert str(caught.value) == "samples: must be at least 1, got 0"


def test_a_configuration_knows_where_it_came_from(sample, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("global_config: {}\nmodule_name_configs:\n  fc: {exact: false}\n  layer1.conv: null\n")
    config = sample.Pruner.from_yaml(str(path))
    assert config.origin("module_name_configs.fc") == "recipe.yaml, line 3"
    assert config.origin("module_name_configs.layer1.conv") == "recipe.yaml, line 4"
    assert config.origin("module_name_configs.other") is None
    assert config == sample.Pruner.from_dict(config.as_dict())
    assert sample.Pruner.from_dict(config.as_dict()).origin("global_config") is None


def test_what_a_setter_gives_no_longer_comes_from_the_file(sample):
    config = sample.Pruner.from_yaml(io.StringIO("module_name_configs:\n  fc: {exact: false}\n  fc2: null\n"))
    assert config.origin("module_name_configs.fc.exact") == "<yaml>, line 2"
    config.set_module_name("fc", None)
    assert config.origin("module_name_configs.fc") is None
    assert config.origin("module_name_configs.fc.exact") is None
    assert config.origin("module_name_configs.fc2") == "<yaml>, line 3"


def test_a_configuration_inside_a_recipe_keeps_the_lines_of_the_recipe(sample):
    document = load_yaml(io.StringIO("stages:\n- config:\n    module_name_configs:\n      fc: null\n"))
    data = document.data["stages"][0]["config"]
    config, problems = structure(sample.Pruner, data, path="stages[0].config", document=document)
    assert problems == []
    assert config.origin("module_name_configs.fc") == "<yaml>, line 4"
    assert config.rules().origin("module_name_configs.fc") == "<yaml>, line 4"


def test_yaml_is_written_to_a_file_too(sample, tmp_path):
    config = sample.Pruner().set_module_type("Linear", None)
    text = config.to_yaml(tmp_path / "out.yaml")
    assert (tmp_path / "out.yaml").read_text() == text
    assert sample.Pruner.from_yaml(tmp_path / "out.yaml") == config


options = st.fixed_dictionaries(
    {},
    optional={
        "target_sparsity": st.floats(0, 1),
        "granularity": st.sampled_from(["per_scalar", "per_channel"]),
        "block_size": st.one_of(st.integers(1, 9), st.lists(st.integers(1, 9), max_size=3)),
        "dtype": st.sampled_from(["int8", "torch.quint8", None]),
        "exact": st.booleans(),
        "scheduler": st.one_of(
            st.builds(lambda n: {"begin_step": n}, st.integers(0, 10**12)),
            st.builds(lambda n: {"update_steps": n}, st.lists(st.integers(0, 99))),
        ),
    },
)
by_size = st.dictionaries(st.integers(0, 99), options, min_size=1, max_size=3).map(
    lambda configs: [{**config, "weight_threshold": threshold} for threshold, config in configs.items()]
)
modules = st.one_of(st.none(), options, by_size)
keys = st.one_of(
    st.sampled_from(["fc", "layer1.0.conv", r"layer\d+\..*", "null", "3", "yes", "1e3", " a", "é:#"]),
    st.from_regex(r"[a-z_.0-9]{1,8}", fullmatch=True),
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(keys, modules), st.dictionaries(keys, modules), modules, st.integers(1, 10**9))
def test_configurations_survive_dictionaries_and_yaml(sample, types, names, default, samples):
    config = sample.Pruner(global_config=default, module_type_configs=types, module_name_configs=names, samples=samples)
    assert sample.Pruner.from_dict(config.as_dict()) == config
    again = sample.Pruner.from_yaml(io.StringIO(config.to_yaml()))
    assert again == config
    assert list(again.module_name_configs) == list(names)
