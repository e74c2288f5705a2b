import re

import pytest

from corepress.config import matching
from corepress.config.matching import SlowPatternError, matched

NAMES = ["layers.0.weight", "layers.10.weight", "head", "a" * 40]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (r"layers\..*", {"layers.0.weight", "layers.10.weight"}),
        (r"(layers\.\d+\.)+weight", {"layers.0.weight", "layers.10.weight"}),
        (r"(?:\w+\.)*weight", {"layers.0.weight", "layers.10.weight"}),
        ("he+a{1}d?", {"head"}),
        (r"\(a\)*", set()),
        ("nothing", set()),
    ],
)
def test_a_pattern_matches_whole_names(pattern, found):
    assert matched(pattern, NAMES) == found


@pytest.mark.parametrize("pattern", ["(a+)+b", "((a|b)+)*c", "(a|a)*b", "a*a*a*a*a*a*a*a*a*a*b", "(.*a){30}b"])
def test_a_pattern_that_explodes_is_given_up(pattern, monkeypatch):
    monkeypatch.setattr(matching, "SECONDS", 0.5)
    with pytest.raises(SlowPatternError, match=r"takes more than 0.5 s; write it without repetitions"):
        matched(pattern, NAMES)


@pytest.mark.parametrize("pattern", ["(", "*", "a{99999999999}", "(" * 500 + ")" * 499])
def test_what_is_no_pattern_is_told(pattern):
    with pytest.raises((re.error, OverflowError, RecursionError)):
        matched(pattern, NAMES)
