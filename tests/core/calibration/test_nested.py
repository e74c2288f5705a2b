"""Batches and arguments are nested tuples, lists and mappings."""

from collections import namedtuple

import torch

from corepress.calibration.nested import leaves, nbytes, rebuilt, tensors

Pair = namedtuple("Pair", ["left", "right"])

X = torch.ones(2, 3)
NESTED = (X, {"a": [1, X], "b": Pair(None, "text")})


def test_leaves_come_with_their_paths():
    assert [path for path, _ in leaves(NESTED)] == [(0,), (1, "a", 0), (1, "a", 1), (1, "b", 0), (1, "b", 1)]


def test_a_structure_is_rebuilt_of_the_same_types():
    found = rebuilt(NESTED, lambda path, leaf: path)
    assert found == ((0,), {"a": [(1, "a", 0), (1, "a", 1)], "b": Pair((1, "b", 0), (1, "b", 1))})
    assert isinstance(found[1]["b"], Pair)


def test_memory_that_tensors_share_counts_once():
    assert len(list(tensors(NESTED))) == 2
    assert nbytes(NESTED) == 24
    assert nbytes([X[:1], X.mT]) == 24
