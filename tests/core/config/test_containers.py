"""Rules by type: classes stand for their names."""

import collections

import pytest

from corepress.config.containers import ByType


@pytest.fixture
def rules():
    return ByType({"collections.OrderedDict": 1})


def test_a_class_finds_the_entry_of_its_name_and_of_shorter_spellings():
    for spelling in ("collections.OrderedDict", "OrderedDict"):
        rules = ByType({spelling: 1})
        assert rules[collections.OrderedDict] == 1
        assert collections.OrderedDict in rules
        assert rules.get(collections.Counter, 2) == 2
    assert collections.OrderedDict not in ByType({"other.OrderedDict": 1})


def test_a_class_can_be_written_to(rules):
    rules[collections.OrderedDict] = 2
    rules.update({collections.Counter: 3})
    assert rules == {"collections.OrderedDict": 2, "collections.Counter": 3}
    assert rules.setdefault(collections.Counter, 4) == 3
    del rules[collections.OrderedDict]
    assert rules.pop(collections.Counter) == 3
    assert rules.pop(collections.Counter, None) is None
    assert not rules
    with pytest.raises(KeyError):
        rules[collections.Counter]
