import numpy as np
import pytest

from corepress.config import Alias, Subject
from corepress.coreml._coremltools import mb, types
from corepress.coreml.activations import sites


def names(program):
    return [(site.name, site.kind) for site in sites(program)]


def test_convolutions_linear_layers_pools_and_additions_are_sites(program, conv):
    def function(a):
        a = conv(a, "c")
        a = mb.max_pool(x=a, kernel_sizes=[2, 2], pad_type="same", name="m")
        a = mb.avg_pool(x=a, kernel_sizes=[2, 2], pad_type="same", name="v")
        a = mb.add(x=a, y=mb.relu(x=a), name="s")
        a = mb.linear(x=mb.reshape(x=a, shape=[2, 16]), weight=np.ones((3, 16), np.float32), name="l")
        return mb.softmax(x=mb.matmul(x=a, y=a, transpose_y=True))

    found = names(program(function))
    assert found == [("c", "conv"), ("m", "max_pool"), ("v", "avg_pool"), ("s", "add"), ("l", "linear")]


def test_a_site_is_reached_by_its_name_and_its_type(program, conv):
    (site,) = sites(program(lambda a: conv(a, "c")))
    assert site.subject == Subject("c", (Alias(("c",), (frozenset({"conv"}),)),))


@pytest.mark.parametrize("swapped", [False, True])
def test_an_addition_of_a_constant_is_no_site(program, swapped):
    def function(a):
        pair = (np.ones((1, 2, 4, 4), np.float32), a)
        return mb.add(x=pair[swapped], y=pair[not swapped])

    assert names(program(function)) == []


def test_integers_and_scalars_are_no_sites(program):
    assert names(program(lambda a: mb.add(x=a, y=a), (2, 2), dtype=types.int32)) == []

    def scalars(a):
        total = mb.reduce_sum(x=a, axes=[0], keep_dims=False)
        return mb.add(x=total, y=total)

    assert names(program(scalars, (3,))) == []


def test_operations_in_nested_blocks_are_left_alone(program, conv):
    def function(a):
        positive = mb.greater(x=mb.reduce_max(x=a, keep_dims=False), y=0.0)
        return mb.cond(pred=positive, _true_fn=lambda: conv(a, "inner"), _false_fn=lambda: mb.identity(x=a))

    assert names(program(function)) == []
