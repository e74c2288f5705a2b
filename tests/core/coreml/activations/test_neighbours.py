import numpy as np

from corepress.coreml._coremltools import mb
from corepress.coreml.activations.neighbours import neighbours


def test_what_a_concat_reads_and_computes_belongs_together(program):
    def function(a, b):
        return mb.relu(x=mb.concat(values=[a, b, np.ones((1, 2), np.float32)], axis=0, name="joined"))

    assert neighbours(program(function, (1, 2), (3, 2)).functions["main"]) == [{"a", "b", "joined"}]


def test_concats_with_a_common_value_belong_together_through_any_number_of_others(program):
    def function(a, b):
        other, third = mb.relu(x=a, name="other"), mb.relu(x=b, name="third")
        one = mb.concat(values=[a, other], axis=0, name="one")
        two = mb.concat(values=[b, third], axis=0, name="two")
        both = mb.concat(values=[other, third], axis=0, name="both")
        return [mb.relu(x=x) for x in (one, two, both)]

    found = neighbours(program(function, (1, 2), (1, 2)).functions["main"])
    assert found == [{"a", "b", "other", "third", "one", "two", "both"}]


def test_a_concat_that_computes_an_output_joins_nothing(program):
    built = program(lambda a, b: mb.concat(values=[a, b], axis=0), (1, 2), (3, 2))
    assert neighbours(built.functions["main"]) == []
