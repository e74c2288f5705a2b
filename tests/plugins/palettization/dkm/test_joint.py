"""Pruning and differentiable k-means trained together."""

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage, coreml
from corepress.encoding import Palettized, Sparse
from corepress.targets import torch_weights
from corepress_plugins.palettization import DKMPalettizer
from corepress_plugins.pruning import MagnitudePruner

INPUTS = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
PRUNINGS = {
    "scheduled": {"target_sparsity": 0.5, "scheduler": {"update_steps": [1, 3, 5]}},
    "n:m": {"n_m_ratio": [2, 4]},
    "blocks": {"target_sparsity": 0.5, "block_size": 2},
    "channels": {"target_sparsity": 0.5, "granularity": "per_channel"},
}
PALETTES = {"plain": {}, "scaled": {"enable_per_channel_scale": True}, "fixed": {"gradient": "fixed_point"}}


def made():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))


def palette(**options):
    return {"global_config": {"weight_threshold": 0, "n_bits": 2, **options}}


def train(model, *compressors, steps=6):
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(INPUTS) - 1).square().mean().backward()
        optimizer.step()
        for compressor in compressors:
            compressor.step()


def check(model, palettes=True):
    for weight in torch_weights(model):
        encoding = weight.encoding()
        assert isinstance(encoding, Sparse)
        assert isinstance(encoding.payload, Palettized)
        values = weight.read()
        assert (values == 0).float().mean() == 0.5
        assert not values[~encoding.mask].any()
        if palettes:
            assert values[encoding.mask].unique().numel() == min(4, encoding.kept)


@pytest.mark.parametrize("pruning", PRUNINGS)
@pytest.mark.parametrize("options", PALETTES)
def test_zeros_stay_exact_and_few_values_are_kept(pruning, options):
    stages = [Stage("magnitude", {"global_config": PRUNINGS[pruning]}), Stage("dkm", palette(**PALETTES[options]))]
    pipeline = Pipeline(stages)
    prepared = pipeline.prepare(made())
    train(prepared, pipeline)
    shown = prepared.eval()(INPUTS)
    final = pipeline.finalize()
    check(final, palettes=options != "scaled")
    torch.testing.assert_close(final(INPUTS), shown)


@pytest.mark.parametrize("prepared_first", ["pruner", "palettizer"])
@pytest.mark.parametrize("finalized_first", ["pruner", "palettizer"])
def test_two_compressors_share_a_model_in_any_order(prepared_first, finalized_first):
    model = made()
    both = {
        "pruner": MagnitudePruner(model, {"global_config": PRUNINGS["scheduled"]}),
        "palettizer": DKMPalettizer(model, palette()),
    }
    for name in sorted(both, key=prepared_first.__ne__):
        both[name].prepare(inplace=True)
    train(model, *both.values())
    shown = model.eval()(INPUTS)
    for name in sorted(both, key=finalized_first.__ne__):
        both[name].finalize(model, inplace=True)
    check(model)
    torch.testing.assert_close(model(INPUTS), shown)


@pytest.mark.parametrize("zero", [{"enforce_zero": True}, {"add_extra_centroid": True}])
def test_a_centroid_at_zero_may_stand_beside_pruned_values(zero):
    pipeline = Pipeline(
        [Stage("magnitude", {"global_config": {"target_sparsity": 0.5}}), Stage("dkm", palette(**zero))]
    )
    train(pipeline.prepare(made(), inplace=True), pipeline)
    for weight in torch_weights(pipeline.finalize()):
        assert (weight.read() == 0).float().mean() >= 0.5
        assert weight.read().unique().numel() <= 5


def test_the_package_is_the_model():
    pipeline = Pipeline([Stage("magnitude", {"global_config": PRUNINGS["scheduled"]}), Stage("dkm", palette())])
    train(pipeline.prepare(made(), inplace=True), pipeline)
    final = pipeline.finalize(inplace=True).eval()
    coreml.verify(coreml.convert(final, INPUTS, minimum_deployment_target="iOS18"), final, INPUTS)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("milestone", [0, 2])
@pytest.mark.parametrize("sparsity", [0.75, 0.9])
def test_every_centroid_is_of_use_whatever_pruning_leaves(bits, milestone, sparsity):
    """Of evenly spread weights pruning leaves two narrow lobes, far from the centroids that suited them before."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 64))
    schedule = {"target_sparsity": sparsity, "scheduler": {"update_steps": [2, 4, 6]}}
    dkm = Stage("dkm", palette(n_bits=bits, milestone=milestone))
    pipeline = Pipeline([Stage("magnitude", {"global_config": schedule}), dkm])
    pipeline.prepare(model)
    for _ in range(8):
        pipeline.step()
    kmeans = Stage("kmeans", {"global_config": {"n_bits": bits}})
    best = Pipeline([Stage("magnitude", {"global_config": schedule}), kmeans]).compress(model)[0].weight
    found, weight = pipeline.finalize()[0].weight, model[0].weight
    kept = found != 0
    assert torch.equal(kept, best != 0)
    assert found[kept].unique().numel() == 2**bits
    assert (found - weight)[kept].square().sum() <= 1.1 * (best - weight)[kept].square().sum()
