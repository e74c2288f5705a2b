"""A tensor is known by its memory and its version, as long as it is among the last that were read."""

import torch

from corepress.calibration.sharing import Sharing


def test_views_of_one_kind_are_one_tensor():
    sharing, x = Sharing(), torch.ones(2, 3)
    assert sharing.of(x.mT, "linear") is sharing.of(x.mT, "linear")
    assert sharing.of(x, "linear") is not sharing.of(x.mT, "linear")


def test_each_geometry_has_results_of_its_own():
    sharing, x = Sharing(), torch.ones(2, 3)
    assert sharing.of(x, "linear") is not sharing.of(x, "windows")


def test_a_tensor_that_was_written_to_is_another_one():
    sharing, x = Sharing(), torch.ones(2, 3)
    before = sharing.of(x, "linear")
    x.add_(1)
    assert sharing.of(x, "linear") is not before


def test_the_last_tensors_alone_are_held():
    sharing = Sharing()
    tensors = [torch.ones(2) for _ in range(4)]
    first = sharing.of(tensors[0], "linear")
    for tensor in tensors[1:]:
        sharing.of(tensor, "linear")
    assert sharing.of(tensors[0], "linear") is not first


def test_nothing_is_known_after_a_batch():
    sharing, x = Sharing(), torch.ones(2)
    before = sharing.of(x, "linear")
    sharing.clear()
    assert sharing.of(x, "linear") is not before


def test_tensors_without_a_version_share_nothing():
    with torch.inference_mode():
        x = torch.ones(2)
    sharing = Sharing()
    assert sharing.of(x, "linear") is not sharing.of(x, "linear")
