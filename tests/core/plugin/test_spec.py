import attrs
import pytest

from corepress.config import CompressionConfig
from corepress.errors import PluginError
from corepress.plugin import AlgorithmSpec


def test_one_name_may_be_given_without_a_tuple(toys):
    assert toys.spec(kind="training", targets="coreml").kind == ("training",)


def test_a_spec_cannot_be_changed(toys):
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        toys.spec().name = "other"


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Sign"},
        {"name": "dist/sign"},
        {"name": ""},
        {"kind": ("weights",)},
        {"kind": ()},
        {"needs": "data"},
        {"produces": "lut"},
        {"targets": ("onnx",)},
        {"config": "toy.config.Config"},
        {"implementation": "toy"},
    ],
)
def test_what_the_core_does_not_know_is_refused(toys, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        toys.spec(**wrong)


def test_a_dotted_string_without_a_class_says_how_it_must_read(toys):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the whole text is compared)
        toys.spec(config="toy.config")
    assert str(caught.value) == "config must read 'package.module:Class', not 'toy.config'"


def test_classes_are_imported_when_they_are_asked_for(toys):
    spec = toys.spec(config="corepress.config:CompressionConfig", implementation="collections:Counter")
    assert spec.load_config() is CompressionConfig
    assert spec.load_implementation() == {}


@pytest.mark.parametrize("dotted", ["fractions:Fraction", "math:pi"])
def test_a_config_that_is_none_is_named(toys, dotted):
    with pytest.raises(PluginError, match=rf"its config '{dotted}' must be a subclass of .*CompressionConfig"):
        toys.spec(config=dotted).load_config()


@pytest.mark.parametrize(
    ("dotted", "reason"),
    [
        ("no_such_package:Config", "No module named 'no_such_package'"),
        ("fractions:Config", "module 'fractions' has no attribute 'Config'"),
    ],
)
def test_a_class_that_cannot_be_imported_is_named(toys, dotted, reason):
    with pytest.raises(PluginError) as caught:
        toys.spec(config=dotted).load_config()
    assert str(caught.value) == f"algorithm 'sign': its config '{dotted}' cannot be imported: {reason}"


def test_every_field_is_given_by_keyword():
    with pytest.raises(TypeError):
        AlgorithmSpec("sign")
