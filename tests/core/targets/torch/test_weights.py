import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, weight_norm

from corepress.algorithm import WeightFacts
from corepress.encoding import Dense
from corepress.errors import StateError, WeightError
from corepress.plugin import ModuleKind, WeightLayout, hookimpl
from corepress.targets import TorchTarget, torch_weights


def by_name(model):
    return {weight.name: weight for weight in torch_weights(model)}


def test_every_kind_of_module_has_its_weights(zoo):
    found = {w.name: (w.kind, w.shape, w.output_axis, w.input_axis, w.facts.groups) for w in torch_weights(zoo)}
    assert found == {
        "linear.weight": ("linear", (4, 6), 0, 1, 1),
        "conv1.weight": ("conv1d", (6, 4, 3), 0, 1, 1),
        "conv2.weight": ("conv2d", (8, 2, 3, 3), 0, 1, 2),
        "conv3.weight": ("conv3d", (4, 2, 2, 2, 2), 0, 1, 1),
        "up1.weight": ("conv_transpose1d", (4, 6, 3), 1, 0, 1),
        "up2.weight": ("conv_transpose2d", (4, 4, 3, 3), 1, 0, 2),
        "up3.weight": ("conv_transpose3d", (2, 4, 2, 2, 2), 1, 0, 1),
        "embedding.weight": ("embedding", (10, 4), 0, 1, 1),
        "bag.weight": ("embedding", (10, 4), 0, 1, 1),
        "attention.in_proj_weight": ("attention", (24, 8), 0, 1, 1),
        "attention.out_proj.weight": ("linear", (8, 8), 0, 1, 1),
        "cross.q_proj_weight": ("attention", (8, 8), 0, 1, 1),
        "cross.k_proj_weight": ("attention", (8, 6), 0, 1, 1),
        "cross.v_proj_weight": ("attention", (8, 4), 0, 1, 1),
        "cross.out_proj.weight": ("linear", (8, 8), 0, 1, 1),
        "norm.weight": ("layer_norm", (4,), 0, 1, 1),
    }


def test_the_weights_of_norms_alone_are_incidental(zoo):
    assert {w.name: w.incidental for w in torch_weights(zoo) if w.incidental} == {
        "norm.weight": "only rules about LayerNorm are meant for it; give its name, its type, or a weight_threshold"
    }


def test_a_norm_without_a_weight_has_none():
    assert torch_weights(nn.Sequential(nn.LayerNorm(4, elementwise_affine=False))) == []


def test_a_weight_that_a_norm_shares_with_a_layer_is_not_incidental():
    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.LayerNorm((3, 4)))
    model[1].weight = model[0].weight
    (weight,) = torch_weights(model)
    assert weight.incidental is None


def test_weights_come_in_the_order_of_the_modules(zoo):
    modules = [name for name, _ in zoo.named_modules()]
    order = [modules.index(weight.places[0].module_name) for weight in torch_weights(zoo)]
    assert order == sorted(order)


def test_rules_for_an_attention_reach_its_output_projection(zoo):
    (alias,) = by_name(zoo)["attention.out_proj.weight"].subject.aliases
    assert alias.names == ("attention.out_proj.weight", "attention.out_proj", "attention")
    spellings = [name for names in alias.types for name in sorted(names)]
    assert spellings.index("torch.nn.Linear") < spellings.index("torch.nn.MultiheadAttention")


def test_the_nearest_class_comes_first_among_the_types():
    class Special(nn.Linear):
        pass

    (weight,) = torch_weights(nn.Sequential(Special(2, 2)))
    (alias,) = weight.subject.aliases
    assert weight.kind == "linear"
    assert alias.types[0] == {"Special", f"{Special.__module__}.{Special.__qualname__}"}
    assert alias.types[1] == {"Linear", "torch.nn.Linear", "torch.nn.modules.linear.Linear"}


def test_a_model_may_be_one_layer():
    (weight,) = torch_weights(nn.Linear(2, 2))
    assert weight.names == ("weight",)


def test_tied_parameters_are_one_weight_with_several_names():
    model = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 6))
    model[1].weight = model[0].weight
    (weight,) = torch_weights(model)
    assert weight.names == ("0.weight", "1.weight")
    assert (weight.name, weight.kind) == ("0.weight", "embedding")
    assert weight.modules == (model[0], model[1])
    assert [alias.names for alias in weight.subject.aliases] == [("0.weight", "0"), ("1.weight", "1")]


def test_a_module_that_two_names_reach_is_one_weight():
    shared = nn.Linear(3, 3)
    (weight,) = torch_weights(nn.ModuleDict({"a": shared, "b": shared}))
    assert weight.names == ("a.weight", "b.weight")
    assert weight.modules == (shared,)


def test_writing_keeps_the_parameter_and_all_its_ties():
    model = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 6))
    model[1].weight = model[0].weight
    parameter = model[0].weight
    (weight,) = torch_weights(model)
    weight.write(Dense(torch.full((6, 4), 2.0)))
    assert model[0].weight is model[1].weight is parameter
    assert torch.equal(parameter, torch.full((6, 4), 2.0))
    assert parameter.requires_grad


def test_an_encoding_of_another_shape_is_refused():
    (weight,) = torch_weights(nn.Linear(2, 3))
    with pytest.raises(WeightError) as caught:
        weight.write(Dense(torch.ones(2, 3)))
    assert str(caught.value) == "weight: the encoding decodes to (2, 3), the weight is (3, 2)"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_values_are_read_in_float32(dtype):
    model = nn.Linear(2, 3).to(dtype)
    (weight,) = torch_weights(model)
    assert weight.read().dtype is torch.float32
    assert torch.equal(weight.read().to(dtype), model.weight)
    assert weight.encoding() == Dense(weight.read())


def test_a_plugin_may_add_a_kind(barn, only_plugins):
    class Plugin:
        @staticmethod
        @hookimpl
        def register_module_kinds():
            layout = WeightLayout(parameter="table", output_axis=1, input_axis=0)
            name = f"{type(barn).__module__}.{type(barn).__qualname__}"
            return [ModuleKind(module=name, kind="barn", weights=(layout,), owns=("inner",))]

    before = by_name(barn)["table"]
    assert (before.kind, before.incidental) == (
        "parameter",
        "only rules about Barn are meant for it; give its name, its type, or a weight_threshold",
    )
    only_plugins(farm=Plugin)
    weights = by_name(nn.Sequential(barn))
    assert weights["0.table"].facts == WeightFacts(
        name="0.table", kind="barn", shape=(3, 5), output_axis=1, input_axis=0
    )
    assert weights["0.inner.weight"].subject.aliases[0].names == ("0.inner.weight", "0.inner", "0")
    assert "Barn" not in TorchTarget(nn.Sequential()).known_types
    assert f"{type(barn).__module__}.Barn" in TorchTarget(nn.Sequential()).known_types


def test_a_plugin_may_describe_a_subclass_of_a_known_kind(only_plugins):
    class Gated(nn.Linear):
        pass

    class Plugin:
        @staticmethod
        @hookimpl
        def register_module_kinds():
            return [ModuleKind(module=f"{Gated.__module__}.{Gated.__qualname__}", kind="gated")]

    only_plugins(farm=Plugin)
    assert [weight.kind for weight in torch_weights(nn.Sequential(Gated(2, 2), nn.Linear(2, 2)))] == ["gated", "linear"]


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize(
    ("reparametrize", "name"),
    [
        (parametrizations.weight_norm, "_WeightNorm"),
        (weight_norm, "WeightNorm"),
        (lambda layer: prune.l1_unstructured(layer, "weight", 0.5), "L1Unstructured"),
    ],
)
def test_what_else_computes_a_weight_is_reported(reparametrize, name):
    (weight,) = torch_weights(nn.Sequential(reparametrize(nn.Linear(2, 3))))
    assert weight.parametrized_by == (name,)


def test_a_stored_weight_is_computed_by_nothing():
    layer = nn.Linear(2, 3)
    layer.register_forward_pre_hook(lambda module, inputs: None)
    assert torch_weights(layer)[0].parametrized_by == ()


def test_looking_for_weights_computes_no_parametrization():
    class Costly(nn.Module):
        def forward(self, weight):
            raise AssertionError("computed")

    layer = nn.Linear(2, 3)
    nn.utils.parametrize.register_parametrization(layer, "weight", Costly(), unsafe=True)
    (weight,) = torch_weights(layer)
    assert weight.parametrized_by == ("Costly",)
    assert weight.read().shape == (3, 2)


def test_a_lazy_weight_asks_for_a_run_of_the_model():
    with pytest.raises(StateError) as caught:
        torch_weights(nn.Sequential(nn.LazyLinear(3)))
    assert str(caught.value) == "0.weight: it has no shape yet; run the model once before it is compressed"


def test_another_parameter_of_the_module_can_be_reached(zoo):
    target = TorchTarget(zoo)
    weight = next(w for w in target.weights() if w.name == "up2.weight")
    sibling = target.sibling(weight, "bias")
    assert sibling.facts == WeightFacts(name="up2.bias", kind="conv_transpose2d", shape=(8,), groups=2)
    assert target.sibling(sibling, "weight").facts == weight.facts


def test_a_parameter_that_is_not_there_is_named(zoo):
    target = TorchTarget(zoo)
    with pytest.raises(LookupError) as caught:
        target.sibling(target.weights()[0], "bais")
    assert str(caught.value) == "linear has no parameter 'bais'"


def test_parameters_beside_a_shared_weight_must_be_shared_too():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    target = TorchTarget(model)
    with pytest.raises(LookupError) as caught:
        target.sibling(target.weights()[0], "bias")
    assert str(caught.value) == "0.weight and 1.weight are one parameter, their modules' 'bias' are several"


@pytest.mark.parametrize(
    "use",
    [
        lambda weight: weight.read(),
        lambda weight: weight.encoding(),
        lambda weight: weight.write(Dense(torch.ones(3, 2))),
    ],
    ids=["read", "encoding", "write"],
)
def test_a_weight_without_values_is_listed_and_cannot_be_used(use):
    (weight,) = torch_weights(nn.Sequential(nn.Linear(2, 3, device="meta")))
    assert (weight.name, weight.shape) == ("0.weight", (3, 2))
    with pytest.raises(WeightError) as caught:
        use(weight)
    assert str(caught.value) == "0.weight: it has no values (meta device); load the model's weights first"


@pytest.mark.parametrize(
    ("module", "shape"),
    [(nn.Linear(0, 3), (3, 0)), (nn.Embedding(0, 3), (0, 3))],
)
def test_a_weight_without_elements_is_a_weight(module, shape):
    (weight,) = torch_weights(module)
    assert weight.shape == tuple(weight.read().shape) == shape
    weight.write(Dense(torch.zeros(shape)))
    assert weight.encoding() == Dense(torch.zeros(shape))


def inference_weight():
    with torch.inference_mode():
        return nn.Linear(3, 3).weight


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (torch.randn(1, 3).expand(3, 3), "elements of it share memory (shape (3, 3), strides (0, 1))"),
        (torch.randn(3, 1).expand(3, 3), "elements of it share memory (shape (3, 3), strides (1, 0))"),
        (torch.randn(5).as_strided((3, 3), (1, 1)), "elements of it share memory (shape (3, 3), strides (1, 1))"),
        (inference_weight(), "it was made in torch.inference_mode()"),
    ],
)
def test_a_weight_that_cannot_be_written_says_why_and_its_copy_can(values, reason):
    model = nn.Sequential(nn.Linear(3, 3))
    model[0].weight = values if isinstance(values, nn.Parameter) else nn.Parameter(values)
    (weight,) = torch_weights(model)
    assert weight.unwritable == reason
    assert weight.obstacle is None
    (twin,) = torch_weights(copy.deepcopy(model))
    assert twin.unwritable is None
    twin.write(Dense(torch.ones(3, 3)))
    assert twin.read().eq(1).all()


def test_inference_tensors_can_be_written_in_inference_mode():
    model = nn.Sequential(nn.Linear(3, 3))
    model[0].weight = inference_weight()
    with torch.inference_mode():
        assert torch_weights(model)[0].unwritable is None


def test_every_kind_of_weight_can_be_written(zoo):
    assert {weight.unwritable for weight in torch_weights(zoo.to(memory_format=torch.contiguous_format))} == {None}
    views = nn.Linear(4, 3)
    views.weight = nn.Parameter(torch.randn(4, 3).T)
    assert torch_weights(views)[0].unwritable is None


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_a_weight_of_a_sparse_layout_cannot_be_compressed(layout):
    layer = nn.Linear(3, 3)
    layer.weight = nn.Parameter(torch.eye(3).to_sparse(layout=layout))
    assert torch_weights(layer)[0].obstacle == f"its layout is {layout}; replace it by weight.to_dense()"
