"""A rule about everything reaches nearly all weights of the architectures that users bring."""

import pytest
from torch.nn.utils import parametrize

from corepress import Pipeline, Stage

pytest.importorskip("transformers")
ARCHITECTURES = pytest.importorskip("tests.networks.architectures").ARCHITECTURES


def plan_of(model):
    return Pipeline([Stage("kmeans", {"global_config": {"n_bits": 4}})]).plan(model)


def is_weight(row):
    return len(row.shape) > 1


def share(plan):
    """Return the share of the bytes of weights that a plan compresses."""
    done = {row.name for row in plan.done}
    of_weights = {row.name: row.bytes_before for row in plan.rows if is_weight(row)}
    return sum(size for name, size in of_weights.items() if name in done) / sum(of_weights.values())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_global_rule_reaches_nearly_all_bytes(name, capsys):
    model = ARCHITECTURES[name]()
    plan = plan_of(model)
    if name == "Wav2Vec2":
        # Its position convolution is computed from two tensors; the plan names it and the way out.
        assert share(plan) < 0.97
        (left,) = [row for row in plan.rows if is_weight(row) and "parametrized" in (row.reason or "")]
        assert "remove_parametrizations" in left.reason
        parametrize.remove_parametrizations(model.get_submodule(left.name.removesuffix(".weight")), "weight")
        plan = plan_of(model)
    with capsys.disabled():
        print(
            f"\n{name}: {share(plan):.1%} of {sum(row.bytes_before for row in plan.rows):,} bytes of weights", end=" "
        )
    assert share(plan) > 0.97
