import torch

from corepress.algorithm import WeightFacts, WeightView


def test_the_facts_of_a_view_are_what_it_says_without_values():
    view = WeightView(
        name="up.weight",
        kind="conv_transpose2d",
        shape=(4, 6, 3, 3),
        output_axis=1,
        input_axis=0,
        groups=2,
        values=torch.ones(4, 6, 3, 3),
    )
    assert view.facts == WeightFacts(
        name="up.weight", kind="conv_transpose2d", shape=(4, 6, 3, 3), output_axis=1, input_axis=0, groups=2
    )


def test_channels_are_counted_along_the_output_axis():
    facts = WeightFacts(name="up.weight", kind="conv_transpose2d", shape=(4, 6, 3, 3), output_axis=1, input_axis=0)
    assert facts.output_channels == 6
    assert facts.count == 216
