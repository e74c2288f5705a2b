"""Names that are loaded when they are used."""

import pytest

import corepress
from corepress.lazy import lazy_names


def test_a_name_is_found_in_its_home():
    assert lazy_names("corepress", {"ConfigError": "errors"})("ConfigError") is corepress.errors.ConfigError


def test_a_submodule_can_be_a_name_itself():
    assert lazy_names("corepress", {"errors": "errors"})("errors") is corepress.errors


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'corepress' has no attribute 'Pipelin'$"):
        corepress.Pipelin  # noqa: B018


def test_every_public_name_can_be_loaded():
    for name in corepress.__all__:
        assert getattr(corepress, name) is not None
