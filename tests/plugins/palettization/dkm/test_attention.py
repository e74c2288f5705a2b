"""What points attend to, and how centroids follow."""

import pytest
import torch

from corepress_plugins.palettization.dkm.attention import Attention

POINTS = torch.tensor([[[0.0, 1.0, 10.0, 11.0]]])
CENTROIDS = torch.tensor([[[0.0], [10.0]]])


def weights(attention, points=POINTS, centroids=CENTROIDS):
    return attention.weights(attention.scores(points, centroids), 0)


def test_attention_is_the_softmax_of_negative_squared_distances():
    attention = Attention(temperature=2.0, least=0.0)
    expected = (-torch.tensor([[1.0, 81.0]]) / 2).softmax(dim=1)
    torch.testing.assert_close(weights(attention)[0, :, 1], expected[0])


def test_no_attention_is_less_than_the_least():
    found = weights(Attention(temperature=1e-4, least=0.01))
    torch.testing.assert_close(found[0], torch.tensor([[1.0, 1.0, 0.01, 0.01], [0.01, 0.01, 1.0, 1.0]]))


def test_hard_attention_is_all_or_nothing():
    attention = Attention(mode="hard")
    assert weights(attention).tolist() == [[[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]]
    assert attention.shown(POINTS, CENTROIDS, 0).tolist() == [[[0.0, 0.0, 10.0, 10.0]]]


def test_centroids_become_the_means_of_what_attends_to_them():
    means, error = Attention(mode="hard").moved(POINTS, torch.tensor([[1.0, 3.0, 1.0, 1.0]]), CENTROIDS, 0)
    assert means.tolist() == [[[0.75], [10.5]]]
    assert error.tolist() == [4.0]


def test_the_error_counts_distances_of_vectors():
    points = torch.tensor([[[3.0, 0.0], [4.0, 0.0]]])
    means, error = Attention(mode="hard").moved(points, torch.ones(1, 2), torch.zeros(1, 1, 2), 0)
    assert means.tolist() == [[[1.5, 2.0]]]
    assert error.tolist() == [25.0]


def test_a_centroid_without_attention_stays():
    centroids = torch.tensor([[[0.0], [10.0], [99.0]]])
    means, _ = Attention(mode="hard").moved(POINTS, torch.ones(1, 4), centroids, 0)
    assert means.tolist() == [[[0.5], [10.5], [99.0]]]


def test_a_centroid_at_zero_stays_at_zero():
    means, _ = Attention(mode="hard", zero=True).moved(POINTS, torch.ones(1, 4), CENTROIDS, 0)
    assert means.tolist() == [[[0.0], [10.5]]]


@pytest.mark.parametrize(("bias", "at_zero"), [(0.0, 1), (99.0, 2)])
def test_the_bias_draws_points_to_the_centroid_at_zero(bias, at_zero):
    points = torch.tensor([[[1.0, 9.5, 12.0]]])
    found = weights(Attention(mode="hard", zero=True, bias=bias), points)
    assert int(found[0, 0].sum()) == at_zero


def test_the_bias_means_nothing_without_a_centroid_at_zero():
    assert torch.equal(weights(Attention(bias=99.0)), weights(Attention()))


def test_noise_is_drawn_for_the_iteration():
    asked = []

    def noise(iteration, shape):
        asked.append((iteration, tuple(shape)))
        return torch.tensor([[[0.0], [1e9]]]).expand(shape)

    attention = Attention(mode="gsm", noise=noise, least=0.0)
    assert attention.shown(POINTS, CENTROIDS, 7).tolist() == [[[10.0] * 4]]
    assert asked == [(7, (1, 2, 4))]
