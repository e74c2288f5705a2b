import torch
from corepress_ternary.algorithm import TernaryWeights
from corepress_ternary.config import ModuleTernaryConfig

from corepress.algorithm import WeightView


def encode(values, mask=None, output_axis=0, **options):
    weight = WeightView(
        name="w", kind="linear", shape=tuple(values.shape), output_axis=output_axis, values=values, mask=mask
    )
    return TernaryWeights().encode(weight, ModuleTernaryConfig(**options), {}, torch.Generator())


def test_small_weights_become_zero_and_large_ones_their_mean_magnitude():
    decoded = encode(torch.tensor([[0.1, -1.0, 3.0], [-2.0, 0.2, 0.9]])).decode()
    # The mean magnitude is 1.2, the threshold 0.84; 1, 3, 2 and 0.9 exceed it, and their mean is 1.725.
    assert torch.equal(decoded, torch.tensor([[0.0, -1.725, 1.725], [-1.725, 0.0, 1.725]]))


def test_every_output_channel_has_its_own_size():
    values = torch.tensor([[1.0, 0.0, -1.0], [-8.0, 8.0, 0.5]])
    expected = torch.tensor([[1.0, 0.0, -1.0], [-8.0, 8.0, 0.0]])
    assert torch.equal(encode(values, granularity="per_channel").decode(), expected)
    assert torch.equal(encode(values.T, output_axis=1, granularity="per_channel").decode(), expected.T)


def test_pruned_values_do_not_count():
    values = torch.tensor([[4.0, 0.0, 0.0, 0.0, 0.0, 2.0]])
    encoding = encode(values, mask=values != 0)
    # Of the kept values, 4 and 2, the mean is 3 and the threshold 2.1: only one exceeds it.
    assert encoding.lut.decode().flatten().tolist() == [-4.0, 0.0, 4.0, 0.0]


def test_a_threshold_of_zero_keeps_the_signs_alone():
    decoded = encode(torch.tensor([[1.0, -3.0, 0.0, 2.0]]), threshold=0.0).decode()
    assert decoded.tolist() == [[2.0, -2.0, 0.0, 2.0]]


def test_the_palette_has_two_bits_and_symmetric_entries():
    encoding = encode(torch.tensor([[1.0, -1.0]]))
    assert encoding.n_bits == 2
    assert encoding.lut.decode().flatten().tolist() == [-1.0, 0.0, 1.0, 0.0]
