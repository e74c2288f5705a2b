"""Weights of a stage that are encoded together."""

import math

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.algorithm import Unsupported, WeightAlgorithm, encodes_together
from corepress.encoding import Dense
from corepress.errors import PlanWarning, PluginError
from corepress.pipeline import jobs
from corepress.targets import TorchWeight


@pytest.fixture
def together(toys, monkeypatch):
    """Let the toy algorithm encode together, and note in what company the weights came."""
    import toy_algorithms

    companies = []

    def encode_together(self, asked):
        companies.append([one.weight.name for one in asked])
        return [self.encode(one.weight, one.config, one.statistics, one.rng) for one in asked]

    monkeypatch.setattr(toy_algorithms.SignPalette, "encode_together", encode_together, raising=False)
    return companies


@pytest.fixture
def answer(monkeypatch):
    """Make the toy algorithm answer for one weight with something else."""
    import toy_algorithms

    original = toy_algorithms.SignPalette.encode

    def answering(name, other):
        def encode(self, weight, config, statistics, rng):
            return other() if weight.name == name else original(self, weight, config, statistics, rng)

        monkeypatch.setattr(toy_algorithms.SignPalette, "encode", encode)

    return answering


def layers(*widths: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(*(nn.Linear(width, width) for width in widths))


def test_small_weights_come_together_and_large_ones_alone(together, monkeypatch):
    monkeypatch.setattr(jobs, "_FEWEST", 100)
    Pipeline([Stage("sign")]).compress(layers(5, 5, 8, 20, 5, 5))
    assert sorted(together) == [["0.weight", "1.weight"], ["4.weight", "5.weight"]]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_how_the_work_is_cut_does_not_depend_on_the_workers(together, monkeypatch, workers):
    monkeypatch.setattr(jobs, "_FEWEST", 50)
    Pipeline([Stage("sign_one_shot")]).compress(layers(*[5] * 8), workers=workers)
    assert sorted(map(len, together)) == [2, 2, 2, 2]


def test_the_company_changes_no_value(toys, together, monkeypatch):
    found = Pipeline([Stage("sign")]).compress(layers(5, 6, 7))
    assert len(together) == 1
    monkeypatch.setattr(jobs, "_FEWEST", 1)
    monkeypatch.setattr(jobs, "_MOST", 1)
    alone = Pipeline([Stage("sign")]).compress(layers(5, 6, 7))
    assert len(together) == 1
    for name, size in (("0", 5), ("1", 6), ("2", 7)):
        weight = found.get_submodule(name).weight
        assert size == weight.shape[0]
        assert weight.unique().numel() == 2
        assert torch.equal(weight, alone.get_submodule(name).weight)


def test_a_weight_that_is_refused_does_not_keep_the_others(together, answer):
    def refuse():
        raise Unsupported("it is odd")

    answer("1.weight", refuse)
    model = layers(5, 6, 7)
    with pytest.warns(PlanWarning, match=r"1 of 3 were left as they were: 1\.weight: sign: it is odd"):
        found = Pipeline([Stage("sign")]).compress(model)
    assert [found[place].weight.unique().numel() for place in range(3)] == [2, 36, 2]


def test_an_error_names_the_weight_that_it_came_from(together, answer):
    def break_down():
        raise RuntimeError("no luck")

    answer("2.weight", break_down)
    with pytest.raises(RuntimeError, match="no luck") as caught:
        Pipeline([Stage("sign")]).compress(layers(5, 6, 7))
    assert caught.value.__notes__ == ["while stage 1 (sign) of plugin under-test/toys.<locals>.Toy compressed 2.weight"]


def test_values_that_are_not_finite_are_found_in_company(together, answer):
    from tests.core.pipeline.conftest import _palette

    broken = torch.full((6, 6), math.nan)
    answer("1.weight", lambda: _palette(broken))
    model = layers(5, 6, 7)
    message = "sign: it has made NaN or infinite values of 1.weight; nothing was written"
    with pytest.raises(PluginError) as caught:
        Pipeline([Stage("sign")]).compress(model)
    assert str(caught.value) == message


def test_a_promise_is_kept_in_company(together, answer):
    answer("1.weight", lambda: Dense(torch.zeros(6, 6)))
    with pytest.raises(PluginError) as caught:
        Pipeline([Stage("sign")]).compress(layers(5, 6, 7))
    assert str(caught.value) == "sign: it declares 'palette' and returned a dense encoding"


def test_a_failure_in_company_alone_is_told(together, monkeypatch):
    import toy_algorithms

    def fail(self, asked):
        raise TypeError("too many")

    monkeypatch.setattr(toy_algorithms.SignPalette, "encode_together", fail)
    with pytest.warns(PlanWarning) as told:
        found = Pipeline([Stage("sign")]).compress(layers(5, 6, 7))
    message = "stage 1 (sign): 3 weights were encoded one by one; together it fails (TypeError: too many)"
    assert [str(warning.message) for warning in told] == [message]
    assert found[1].weight.unique().numel() == 2


def test_a_missing_encoding_is_an_error(together, monkeypatch):
    import toy_algorithms

    monkeypatch.setattr(toy_algorithms.SignPalette, "encode_together", lambda self, asked: [])
    with pytest.raises(PluginError) as caught:
        Pipeline([Stage("sign")]).compress(layers(5, 6, 7))
    assert str(caught.value) == "sign: encode_together returned 0 encodings of 3 weights: 0.weight, 1.weight, 2.weight"


def test_what_is_no_encoding_is_named_with_its_weight(together, monkeypatch):
    import toy_algorithms

    monkeypatch.setattr(toy_algorithms.SignPalette, "encode_together", lambda self, asked: [None] * len(asked))
    with pytest.raises(PluginError, match="encode must return a WeightEncoding, not NoneType") as caught:
        Pipeline([Stage("sign")]).compress(layers(5, 6, 7))
    assert "compressed 0.weight" in caught.value.__notes__[0]


def test_an_exit_in_company_is_none(together, monkeypatch):
    import toy_algorithms

    def leave(*_):
        raise SystemExit(0)

    monkeypatch.setattr(toy_algorithms.SignPalette, "encode_together", leave)
    with pytest.warns(UserWarning, match=r"encoded one by one; together it fails .*SystemExit\(0\)"):
        found = Pipeline([Stage("sign")]).compress(layers(5, 6, 7))
    assert [layer.weight.unique().numel() for layer in found] == [2, 2, 2]


def test_an_error_of_writing_names_the_weight(together, monkeypatch):
    def write(weight, encoding):
        raise OSError("full")

    monkeypatch.setattr(TorchWeight, "write", write)
    with pytest.raises(OSError, match="full") as caught:
        Pipeline([Stage("sign")]).compress(layers(5, 6, 7))
    assert caught.value.__notes__ == ["while stage 1 (sign) of plugin under-test/toys.<locals>.Toy wrote 0.weight"]


def test_every_weight_has_its_share_of_the_seconds(together):
    pipeline = Pipeline([Stage("sign")])
    pipeline.compress(layers(5, 6, 7))
    report = pipeline.report()
    assert all(row.seconds > 0 for row in report.done)
    assert sum(row.seconds for row in report.done) <= report.seconds


def test_only_algorithms_with_a_way_of_their_own_encode_together(together):
    import toy_algorithms

    class Plain(WeightAlgorithm):
        pass

    class Bare:
        pass

    class Heir(toy_algorithms.SignPalette):
        def encode(self, weight, config, statistics, rng):
            return Dense(weight.values)

    assert encodes_together(toy_algorithms.SignPalette())
    assert not encodes_together(Heir())
    assert not encodes_together(Plain())
    assert not encodes_together(Bare())
