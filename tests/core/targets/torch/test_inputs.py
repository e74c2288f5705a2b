"""Every layer is the product of its weight as a matrix and the columns of its input."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F  # noqa: N812

from corepress.calibration import SecondMoment, collect
from corepress.calibration.sharing import Sharing
from corepress.calibration.undisturbed import undisturbed
from corepress.targets import geometry, torch_weights
from corepress.targets.torch.inputs import layer_input

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
FUNCTIONAL_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MODES = ("zeros", "circular", "reflect", "replicate")


def values(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def seen_by(model, *arguments, name=None, **keywords):
    """Return the inputs that a weight of a model sees in one call."""
    weight = next(w for w in torch_weights(model) if name in (None, *w.names))
    seen = []
    with undisturbed(model), torch.no_grad(), weight.listening(Sharing(), lambda found, *_: seen.append(found.parts())):
        model(*arguments, **keywords)
        return weight, [[part.columns() for part in parts] for parts in seen]


def the_columns(model, *arguments, name=None, **keywords):
    weight, ((columns,),) = seen_by(model, *arguments, name=name, **keywords)
    return weight, columns


def product(weight, columns):
    """Return the rows (samples, groups * rows) that a layer computes of its columns."""
    matrix = weight.facts.to_matrix(weight.read())
    return torch.bmm(columns, matrix.mT).permute(1, 0, 2).flatten(1)


@st.composite
def convolutions(draw):
    rank = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 2, 3]))
    each = st.tuples(*[st.integers(1, 3)] * rank)
    padding = draw(st.one_of(st.sampled_from(["same", "valid"]), st.tuples(*[st.integers(0, 2)] * rank)))
    return {
        "rank": rank,
        "channels": (groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))),
        "groups": groups,
        "kernel_size": draw(each),
        "stride": (1,) * rank if padding == "same" else draw(each),
        "dilation": draw(each),
        "padding": padding,
        "padding_mode": draw(st.sampled_from(MODES)),
        "lengths": draw(st.tuples(*[st.integers(3, 7)] * rank)),
        "images": draw(st.sampled_from([None, 1, 2])),
    }


@settings(deadline=None, max_examples=150)
@given(convolutions(), st.sampled_from([1 << 25, 400, 1]))
def test_a_convolution_is_the_product_of_its_weight_and_its_windows(options, most):
    rank, lengths, images = (options.pop(key) for key in ("rank", "lengths", "images"))
    module = CONVOLUTIONS[rank](*options.pop("channels"), bias=False, **options)
    x = values(*([] if images is None else [images]), module.in_channels, *lengths)
    try:
        expected = module(x)
    except RuntimeError:
        # torch refuses the padding, or an image smaller than the kernel
        assume(False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geometry, "MOST_BYTES", most)
        weight, columns = the_columns(module, x)
    batched = expected if images is not None else expected[None]
    found = product(weight, columns)
    assert torch.allclose(found, rows_in(found, batched), atol=1e-5)


def rows_in(found, batched):
    rows = batched.movedim(1, -1).reshape(-1, batched.shape[1])
    assert rows.shape == found.shape
    return rows


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3), st.sampled_from([1, 2, 3]), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2))
def test_a_transposed_convolution_spreads_the_product_of_its_weight_and_its_channels(rank, groups, kernel, stride, n):
    module = TRANSPOSED[rank](2 * groups, n * groups, kernel, stride, groups=groups, bias=False)
    x = values(2, 2 * groups, *[4] * rank)
    weight, columns = the_columns(module, x)
    rows = product(weight, columns).reshape(2, *[4] * rank, groups, n, kernel**rank)
    # Each position adds its rows to the output, by a kernel that has one element for each of them.
    each = rows.movedim((rank + 1, rank + 2, rank + 3), (1, 2, 3)).reshape(2, groups * n * kernel**rank, *[4] * rank)
    one = torch.eye(kernel**rank).reshape(kernel**rank, 1, *[kernel] * rank).repeat(groups * n, 1, *[1] * rank)
    found = FUNCTIONAL_TRANSPOSED[rank](each, one, stride=stride, groups=groups * n)
    assert torch.allclose(found, module(x), atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_an_image_without_a_batch_axis_is_one_image(rank):
    module = TRANSPOSED[rank](4, 2, 3, bias=False)
    _, alone = the_columns(module, values(4, *[5] * rank))
    _, batched = the_columns(module, values(4, *[5] * rank)[None])
    assert torch.equal(alone, batched)


def test_windows_are_in_the_order_of_unfold():
    module, x = nn.Conv2d(4, 6, (2, 3), stride=2, dilation=(1, 2), padding=1), values(2, 4, 7, 8)
    _, columns = the_columns(module, x)
    expected = F.unfold(x, (2, 3), dilation=(1, 2), padding=1, stride=2)
    assert torch.equal(columns[0], expected.mT.reshape(-1, 24))


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3), (2, 0, 3)])
def test_a_linear_layer_has_one_sample_for_each_position(shape):
    module, x = nn.Linear(3, 4, bias=False), values(*shape)
    weight, columns = the_columns(module, x)
    assert torch.allclose(product(weight, columns), module(x).reshape(-1, 4))


def test_an_image_too_small_for_the_kernel_is_an_error_of_the_model_alone():
    with pytest.raises(RuntimeError, match=r"[Kk]ernel size"):
        seen_by(nn.Conv2d(1, 1, 5), values(1, 1, 3, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
def test_columns_are_float32_whatever_the_precision_of_the_model(dtype, padding_mode):
    module = nn.Conv2d(2, 3, 3, padding=1, padding_mode=padding_mode).to(dtype)
    x = values(1, 2, 5, 5, dtype=dtype)
    _, columns = the_columns(module, x)
    _, expected = the_columns(module.float(), x.float())
    assert columns.dtype is torch.float32
    assert torch.equal(columns, expected)


def test_inputs_by_keyword_are_seen():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(input=x)

    _, columns = the_columns(Net(), values(5, 3))
    assert torch.equal(columns[0], values(5, 3))


def test_a_module_that_is_called_twice_is_seen_twice():
    module = nn.Linear(3, 3)
    _, seen = seen_by(nn.Sequential(module, module), values(5, 3))
    assert torch.equal(seen[1][0], module(seen[0][0]))


@pytest.mark.parametrize("module", [nn.Embedding(10, 4), nn.EmbeddingBag(10, 4)])
def test_an_embedding_has_tokens_alone(module):
    tokens = torch.tensor([[1, 2], [3, 1]])
    seen = []
    with torch_weights(module)[0].listening(Sharing(), lambda found, *_: seen.append(found)):
        module(tokens)
    assert seen[0].columns() is None
    assert list(seen[0].chunks()) == []
    assert seen[0].tokens().tolist() == [1, 2, 3, 1]


def test_a_head_tied_to_an_embedding_is_seen_by_both_modules():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(10, 4)
            self.head = nn.Linear(4, 10, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens):
            return self.head(self.embed(tokens))

    net, tokens = Net(), torch.tensor([1, 2, 3])
    _, seen = seen_by(net, tokens)
    assert seen[0] == [None]
    assert torch.equal(seen[1][0][0], net.embed(tokens))


def attention(**options):
    torch.manual_seed(0)
    return nn.MultiheadAttention(8, 2, **options)


class Projected(nn.Module):
    """Attention, and its output projection as a module of its own."""

    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, *arguments, **keywords):
        return self.attention(*arguments, **keywords)[0]


CALLS = {
    "self": lambda q, k: (q, q, q),
    "cross": lambda q, k: (q, k, k),
    "three": lambda q, k: (q, k, 2 * k),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("batched", [True, False])
def test_stacked_projections_see_the_tensor_that_each_reads(call, batch_first, batched):
    query, key = values(3, 2, 8), values(5, 2, 8, seed=1)
    if not batched:
        query, key = query[:, 0], key[:, 0]
    elif batch_first:
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    given = CALLS[call](query, key)
    _, (parts,) = seen_by(attention(batch_first=batch_first), *given, name="in_proj_weight")
    assert all(torch.equal(part[0], x.reshape(-1, 8)) for part, x in zip(parts, given, strict=True))


def test_self_attention_has_the_columns_of_all_three_projections():
    module, x = attention(), values(3, 2, 8)
    weight = torch_weights(module)[0]
    seen = []
    with weight.listening(Sharing(), lambda found, *_: seen.append(found.columns())):
        module(x, x, value=x)
    assert weight.facts.matrix_shape == (3, 8, 8)
    assert torch.equal(seen[0], x.reshape(1, 6, 8).expand(3, 6, 8))


@pytest.mark.parametrize(("name", "position"), [("q_proj_weight", 0), ("k_proj_weight", 1), ("v_proj_weight", 2)])
def test_separate_projections_see_the_tensor_that_each_reads(name, position):
    given = values(3, 2, 8), values(5, 2, 6, seed=1), values(5, 2, 4, seed=2)
    _, columns = the_columns(attention(kdim=6, vdim=4), *given, name=name)
    assert torch.equal(columns[0], given[position].reshape(-1, given[position].shape[-1]))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"need_weights": False}, {"attn_mask": torch.ones(3, 3).triu(1).bool()}], ids=str
)
def test_the_output_projection_is_the_product_with_its_columns(bias, batch_first, batched, options):
    module, x = attention(bias=bias, batch_first=batch_first).eval(), values(*((3, 3) if batched else (3,)), 8)
    weight, columns = the_columns(module, x, x, x, name="out_proj.weight", **options)
    expected = module(x, x, x, **options)[0]
    found = product(weight, columns) + (module.out_proj.bias if bias else 0)
    assert torch.allclose(found, expected.reshape(-1, 8), atol=1e-6)


def test_padding_of_keys_reaches_the_output_projection():
    module, x = attention(batch_first=True).eval(), values(2, 3, 8)
    padding = torch.tensor([[False, False, True], [False, False, False]])
    weight, columns = the_columns(module, x, x, x, name="out_proj.weight", key_padding_mask=padding)
    expected = module(x, x, x, key_padding_mask=padding)[0]
    assert torch.allclose(product(weight, columns) + module.out_proj.bias, expected.reshape(-1, 8), atol=1e-6)


def test_hooks_of_the_caller_run_once_on_attention():
    module, calls = attention(), []
    module.register_forward_hook(lambda *_: calls.append(1))
    x = values(3, 2, 8)
    the_columns(module, x, x, x, name="out_proj.weight")
    assert calls == [1]


def test_an_output_projection_that_is_called_by_its_module_is_seen_once():
    class Calling(nn.MultiheadAttention):
        def forward(self, query, key, value):
            return self.out_proj(query), None

    module, x = Calling(8, 2), values(3, 2, 8)
    _, columns = the_columns(module, x, x, x, name="out_proj.weight")
    assert torch.equal(columns[0], x.reshape(-1, 8))


@pytest.mark.parametrize("name", ["self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight"])
def test_every_layer_of_an_encoder_is_seen_in_evaluation_mode(name):
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).eval()
    padding = torch.tensor([[False, False, True], [False, False, False]])
    enabled = torch.backends.mha.get_fastpath_enabled()
    _, seen = seen_by(encoder, values(2, 3, 8), src_key_padding_mask=padding, name=f"layers.1.{name}")
    assert len(seen) == 1
    assert torch.backends.mha.get_fastpath_enabled() is enabled is True


def test_a_layer_that_reads_no_tensor_has_no_columns():
    class Named(nn.Linear):
        def forward(self, x):
            return super().forward(x["values"])

    _, columns = the_columns(Named(3, 2), {"values": values(5, 3)})
    assert columns is None


def test_a_model_that_runs_in_inference_mode_is_seen():
    class Inferring(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        @torch.inference_mode()
        def forward(self, x):
            return self.fc(x * 1)

    model, weight = Inferring(), "fc.weight"
    batches = [values(5, 3, seed=n) for n in range(2)]
    found = collect(model, torch_weights(model), {weight: [SecondMoment.spec()]}, batches)[weight]["second_moment"]
    assert found.count == 10
    x = torch.cat(batches)
    assert torch.allclose(found.matrix[0], x.mT @ x / 10, atol=1e-6)


def test_a_module_that_is_a_convolution_by_name_alone_has_no_columns():
    seen = layer_input(nn.Linear(3, 2), "conv2d", "weight", ((values(1, 3, 4, 4),), {}), Sharing())
    assert seen.columns() is None
