"""Which weights get which palette, and what is refused before any work."""

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.errors import PlanError, PlanWarning
from corepress.targets import torch_weights
from corepress_plugins.palettization import DKMPalettizer

ALL = {"weight_threshold": 0}


def planned(model, **config):
    return Pipeline([Stage("dkm", {"global_config": {**ALL, **config}})]).plan(model)


class Attention(nn.Module):
    """Attend from queries to keys and values of other widths, if asked."""

    def __init__(self, **widths):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True, **widths)
        self.widths = widths

    def forward(self, x):
        key, value = x[..., : self.widths.get("kdim", 16)], x[..., : self.widths.get("vdim", 16)]
        return self.attention(x, key, value, need_weights=False)[0]


@pytest.mark.parametrize(
    ("module", "inputs", "bits"),
    [
        (nn.Linear(16, 32), (4, 16), {"0.weight": 4}),
        (nn.Conv1d(4, 8, 3), (2, 4, 9), {"0.weight": 2}),
        (nn.Conv2d(4, 8, 3), (2, 4, 9, 9), {"0.weight": 2}),
        (nn.Conv3d(4, 8, 3), (2, 4, 5, 5, 5), {"0.weight": 2}),
        (nn.ConvTranspose1d(4, 8, 3), (2, 4, 9), {"0.weight": 2}),
        (nn.ConvTranspose2d(4, 8, 3), (2, 4, 9, 9), {"0.weight": 2}),
        (nn.ConvTranspose3d(4, 8, 3), (2, 4, 5, 5, 5), {"0.weight": 2}),
        (nn.LayerNorm(64), (2, 64), {"0.weight": 2}),
        (Attention(), (2, 3, 16), {"0.attention.in_proj_weight": 2, "0.attention.out_proj.weight": 4}),
        (
            Attention(kdim=8, vdim=12),
            (2, 3, 16),
            {f"0.attention.{p}_proj_weight": 2 for p in "qkv"} | {"0.attention.out_proj.weight": 4},
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_every_known_module_is_trained(module, inputs, bits):
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(module)
    with torch.no_grad():
        for weight in torch_weights(model):
            weight.parameter.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    palettizer = DKMPalettizer(model, {"global_config": ALL})
    prepared = palettizer.prepare()
    optimizer = torch.optim.SGD(prepared.parameters(), 0.01)
    for _ in range(2):
        prepared(torch.randn(inputs, generator=generator)).square().mean().backward()
        optimizer.step()
        palettizer.step()
    final = {weight.name: weight for weight in torch_weights(palettizer.finalize())}
    assert {name: weight.encoding().n_bits for name, weight in final.items()} == bits
    assert all(weight.read().unique().numel() == 2 ** bits[name] for name, weight in final.items())


def test_an_embedding_is_trained():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(30, 8))
    palettizer = DKMPalettizer(model, {"global_config": ALL})
    palettizer.prepare()(torch.tensor([[1, 2]])).sum().backward()
    palettizer.step()
    assert palettizer.finalize()[0].weight.unique().numel() == 4


def test_a_weight_that_another_parametrization_computes_is_skipped_with_the_reason():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 8, 3)))
    row = planned(model)["0.weight"]
    assert row.status == "skipped"
    assert row.reason == (
        "dkm: it is parametrized by _WeightNorm; call torch.nn.utils.parametrize.remove_parametrizations first"
    )
    with pytest.raises(PlanError, match=r"0\.weight.*it is parametrized by _WeightNorm"):
        Pipeline([Stage("dkm", {"module_name_configs": {"0": ALL}})]).prepare(model)


@pytest.mark.parametrize(
    ("module", "options", "reason"),
    [
        (
            nn.Conv2d(16, 16, 3),
            {"granularity": "per_grouped_channel", "group_size": 5},
            "group_size 5 does not divide its 16 channels on axis 0",
        ),
        (nn.Linear(16, 16), {"cluster_dim": 3}, "cluster_dim 3 does not divide its 16 channels on axis 0"),
        (
            nn.Linear(16, 16),
            {"cluster_permute": (1, 0, 2, 3)},
            "cluster_permute [1, 0, 2, 3] has 4 axes, and it has 2",
        ),
        (
            nn.LayerNorm(16),
            {"enable_per_channel_scale": True},
            "a vector has one value in each channel; turn enable_per_channel_scale off",
        ),
    ],
)
def test_what_does_not_fit_a_weight_is_skipped_with_the_reason(module, options, reason):
    model = nn.Sequential(module)
    assert planned(model, **options)["0.weight"].reason == f"dkm: {reason}"
    with pytest.warns(PlanWarning, match="does not|has 4 axes|has one value"):
        prepared = DKMPalettizer(model, {"global_config": {**ALL, **options}}).prepare()
    assert type(prepared[0]) is type(module)


def test_small_weights_are_left_alone():
    model = nn.Sequential(nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5))
    plan = planned(model, weight_threshold=1000)
    assert plan["0.weight"].reason == "it has no more than 1000 elements (weight_threshold)"
    assert plan["1.weight"].form == "2-bit palette"


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("level", ["global_config", "module_type_configs", "module_name_configs"])
def test_the_size_of_a_weight_chooses_from_a_list(level, backwards):
    model = nn.Sequential(nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5))
    choices = [{"n_bits": 4, "weight_threshold": 1000}, {"n_bits": 2, "weight_threshold": 400}]
    choices = choices[::-1] if backwards else choices
    keys = {"module_type_configs": "Conv2d", "module_name_configs": "0|1"}
    config = {level: {keys[level]: choices} if level in keys else choices}
    plan = Pipeline([Stage("dkm", config)]).plan(model)
    assert (plan["0.weight"].form, plan["1.weight"].form) == ("2-bit palette", "4-bit palette")


def test_a_permutation_puts_groups_on_another_axis():
    model = nn.Sequential(nn.Conv2d(4, 8, 3))
    config = {"n_bits": 1, "granularity": "per_grouped_channel", "group_size": 2, "cluster_permute": (1, 0, 2, 3)}
    assert planned(model, **config)["0.weight"].form == "1-bit palette, 2 LUTs"
    small = DKMPalettizer(model, {"global_config": {**ALL, **config}}).compress()
    for part in small[0].weight.split(2, dim=1):
        assert part.unique().numel() == 2


def test_scales_run_along_the_first_axis_of_a_permutation():
    model = nn.Sequential(nn.Linear(16, 8))
    config = {"cluster_permute": (1, 0), "enable_per_channel_scale": True}
    small = DKMPalettizer(model, {"global_config": {**ALL, **config}}).compress()
    assert torch_weights(small)[0].encoding().scale.shape == (1, 16)


def test_vectors_of_a_pruned_weight_are_refused_by_the_plan():
    stages = [
        Stage("magnitude", {"global_config": {"target_sparsity": 0.5}}),
        Stage("dkm", {"module_name_configs": {"0": {**ALL, "cluster_dim": 2}}}),
    ]
    with pytest.raises(PlanError, match="a palette of vectors cannot hold single zeros; use cluster_dim 1"):
        Pipeline(stages).prepare(nn.Sequential(nn.Linear(16, 16)))
