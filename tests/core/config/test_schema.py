import copy
import pickle
import subprocess
import sys
from enum import IntEnum, StrEnum

import pytest

from corepress.config import Configuration, configuration, option, structure
from corepress.errors import ConfigError


def message(call, *args, **kwargs):
    with pytest.raises(ConfigError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def test_defaults_are_structured_like_given_values(sample):
    config = sample.Module()
    assert config.scheduler == sample.Constant(begin_step=0)
    assert (config.target_sparsity, config.block_size, config.n_m_ratio) == (0.5, 1, None)


@pytest.mark.parametrize(
    ("option_name", "value", "complaint"),
    [
        ("target_sparsity", 1.5, "must be between 0 and 1, got 1.5"),
        ("target_sparsity", -0.5, "must be between 0 and 1, got -0.5"),
        ("target_sparsity", "0.5", "must be a number, got '0.5'; write 0.5 without quotes"),
        ("target_sparsity", True, "must be a number, got True"),
        ("target_sparsity", float("nan"), "must be a finite number, got nan"),
        ("target_sparsity", float("inf"), "must be a finite number, got inf"),
        ("exact", "false", "must be true or false, got 'false'"),
        ("exact", 1, "must be true or false, got 1"),
        ("param_name", 3, "must be a string, got 3; write '3' in quotes"),
        ("granularity", "per_chanel", "must be one of 'per_scalar', 'per_channel', got 'per_chanel'; "
         "did you mean 'per_channel'?"),
        ("mode", "x", "must be one of 'hard', 'soft', got 'x'"),
        ("dtype", "int4", "must be one of 'int8', 'uint8', got 'int4'; did you mean 'int8'?"),
        ("dtype", "int9", "unknown dtype 'int9'; did you mean 'int8' or 'int6' or 'int4'?"),
        ("block_size", 4.7, "must be an integer or a list, got 4.7"),
        ("block_size", 0, "must be greater than 0, got 0"),
        ("block_size", [2, 0], "must be greater than 0, got 0"),
        ("n_m_ratio", [1, 2, 3], "must be a list of 2 values, got [1, 2, 3]"),
        ("n_m_ratio", "12", "must be a list or null, got '12'"),
        ("scheduler", 3, "must be the options of PolynomialScheduler or the options of ConstantScheduler, got 3"),
        ("scheduler", {}, "must have the options of PolynomialScheduler (update_steps, power) or "
         "ConstantScheduler (begin_step), got none"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_the_way_out(sample, option_name, value, complaint):
    expected = f"{option_name}: {complaint}"
    assert message(sample.Module, **{option_name: value}) == f"ModulePrunerConfig: {expected}"
    assert message(sample.Module.from_dict, {option_name: value}) == expected


def test_all_problems_are_raised_at_once(sample):
    with pytest.raises(ConfigError) as caught:
        sample.Module(target_sparsty=1, exact=0, n_m_ratio=[True, "2"], scheduler={"update_steps": [1, -1], "powr": 2})
    assert str(caught.value) == (
        "ModulePrunerConfig: 6 problems\n"
        "  target_sparsty: unknown option 'target_sparsty' of ModulePrunerConfig; did you mean 'target_sparsity'?\n"
        "  scheduler.powr: unknown option 'powr' of PolynomialScheduler; did you mean 'power'?\n"
        "  scheduler.update_steps: must be at least 0, got -1\n"
        "  n_m_ratio[0]: must be an integer, got True\n"
        "  n_m_ratio[1]: must be an integer, got '2'; write 2 without quotes\n"
        "  exact: must be true or false, got 0"
    )
    assert len(caught.value.problems) == 6


def test_a_required_option_is_asked_for_with_its_documentation(sample):
    assert message(sample.Constant) == (
        "ConstantScheduler: begin_step: a value is required (step at which pruning begins)"
    )


def test_an_option_without_near_name_is_answered_with_all_names(sample):
    assert message(sample.Constant.from_dict, {"begin_step": 1, "zzz": 2}) == (
        "zzz: unknown option 'zzz' of ConstantScheduler; its options are begin_step"
    )


def test_cross_checks_run_only_when_every_option_is_sound(sample):
    assert message(sample.Module, n_m_ratio=(1, 2), block_size=2) == (
        "ModulePrunerConfig: n_m_ratio: cannot be combined with block_size 2; set it to 1"
    )
    assert "cannot be combined" not in message(sample.Module, n_m_ratio=(1, 2), block_size=2, exact=None)


def test_integers_become_floats_and_lists_become_tuples(sample):
    config = sample.Module(target_sparsity=1, n_m_ratio=[1, 2])
    assert type(config.target_sparsity) is float
    assert config.n_m_ratio == (1, 2)


def test_a_union_of_configurations_is_chosen_by_its_keys(sample):
    assert sample.Module(scheduler={"begin_step": 2}).scheduler == sample.Constant(begin_step=2)
    assert sample.Module(scheduler={"update_steps": [4, 7]}).scheduler == sample.Polynomial(update_steps=(4, 7))


def test_shorthand_is_written_out_before_structuring(sample):
    assert sample.Polynomial(update_steps="range(3)").update_steps == (0, 1, 2)
    assert sample.Module.from_dict({"scheduler": {"update_steps": "range(2)"}}).scheduler.update_steps == (0, 1)


def test_configurations_are_values(sample):
    config = sample.Module(block_size=[1, 2])
    assert config == copy.deepcopy(config) == pickle.loads(pickle.dumps(config))
    assert hash(config) == hash(sample.Module(block_size=(1, 2)))
    twin = copy.deepcopy(config)
    twin.exact = False
    assert config.exact
    assert twin == config.evolve(exact=False)


def test_options_are_given_by_position_in_the_order_of_their_declaration(sample):
    assert sample.Constant(3) == sample.Constant(begin_step=3)
    with pytest.raises(ConfigError, match=r"takes at most 1 options by position \(begin_step\), got 2"):
        sample.Constant(3, 4)
    with pytest.raises(ConfigError, match=r"'begin_step' is given twice, by position and by name"):
        sample.Constant(3, begin_step=4)


def test_evolve_checks_the_changes(sample):
    assert sample.Module().evolve(exact=False) == sample.Module(exact=False)
    assert "between 0 and 1" in message(sample.Module().evolve, target_sparsity=2)


def test_as_dict_holds_plain_values_only(sample):
    config = sample.Module(dtype="torch.qint8", block_size=(1, 4), scheduler={"update_steps": [3]})
    assert config.as_dict() == {
        "weight_threshold": None,
        "scheduler": {"update_steps": [3], "power": 3},
        "target_sparsity": 0.5,
        "granularity": "per_scalar",
        "block_size": [1, 4],
        "n_m_ratio": None,
        "dtype": "int8",
        "mode": "hard",
        "exact": True,
        "param_name": "weight",
    }
    assert type(config.as_dict()["dtype"]) is str
    assert sample.Module.from_dict(config.as_dict()) == config


def test_structure_reports_under_the_given_path_instead_of_raising(sample):
    value, problems = structure(sample.Module, {"exact": 3}, path="stages[0].config")
    assert value is None
    assert [str(problem) for problem in problems] == ["stages[0].config.exact: must be true or false, got 3"]
    assert structure(sample.Module, {}, path="x") == (sample.Module(), [])
    _, problems = structure(sample.Module, [1], path="x")
    assert [str(problem) for problem in problems] == [
        "x: must be a mapping of the options of ModulePrunerConfig, got [1]"
    ]


def test_a_class_without_decorator_is_told_to_have_one():
    class Forgotten(Configuration):
        size: int = option(default=1, doc="size")

    with pytest.raises(
        TypeError, match="Forgotten is no finished configuration class; decorate it with @configuration"
    ):
        Forgotten()


def test_help_shows_the_options(sample):
    import inspect

    assert str(inspect.signature(sample.Constant)) == "(*, begin_step: int) -> None"


def test_annotations_may_be_strings(tmp_path, monkeypatch):
    (tmp_path / "postponed_plugin.py").write_text(
        "from __future__ import annotations\n"
        "from typing import ClassVar\n"
        "from corepress.config import *\n"
        "@configuration\n"
        "class M(ModuleConfig):\n"
        "    inner: Inner | None = option(default=None, doc='later')\n"
        "    sizes: list[int] = option(factory=list, doc='sizes')\n"
        "@configuration\n"
        "class Inner(Configuration):\n"
        "    bits: int = option(default=4, doc='bits')\n"
        "@layered\n"
        "class C(CompressionConfig[M]):\n"
        "    module_config: ClassVar[type[ModuleConfig]] = M\n"
        "    samples: int = option(default=2, doc='samples')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import postponed_plugin

    config = postponed_plugin.C.from_dict({"samples": 3, "global_config": {"inner": {"bits": 2}, "sizes": (1,)}})
    assert config.global_config == postponed_plugin.M(inner=postponed_plugin.Inner(bits=2), sizes=[1])
    assert "must be an integer" in message(postponed_plugin.M, sizes=["1"])


def test_importing_the_room_imports_neither_torch_nor_coremltools():
    code = "import sys, corepress.config; sys.exit(bool({'torch', 'coremltools', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_configuration_without_options_accepts_none():
    @configuration
    class Empty(Configuration):
        pass

    assert Empty.from_dict({}).as_dict() == {}
    assert message(Empty, x=1) == "Empty: x: unknown option 'x' of Empty; its options are none"


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 2


@configuration
class Enumerated(Configuration):
    colour: Colour = option(default=Colour.RED, doc="An enumeration of strings.")
    level: Level = option(default=Level.HIGH, doc="An enumeration of integers.")


def test_enumerations_of_strings_and_integers_keep_their_class():
    config = Enumerated(colour="red", level=2)
    assert config.colour is Colour.RED
    assert config.level is Level.HIGH
    assert config.as_dict() == {"colour": "red", "level": 2}
    text = message(Enumerated, colour="rde")
    assert text == "Enumerated: colour: must be one of 'red', got 'rde'; did you mean 'red'?"
