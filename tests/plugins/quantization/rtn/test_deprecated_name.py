"""The name that the algorithm had before."""

import warnings

import torch
from torch import nn

from corepress import Pipeline, Stage


def test_ptq_works_in_recipes_with_one_deprecation_warning():
    model = nn.Linear(8, 8)
    pipeline = Pipeline.from_dict({"stages": [{"algorithm": "ptq"}]})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipeline.plan(model)
        old = pipeline.compress(model)
    assert [str(w.message) for w in caught if w.category is DeprecationWarning] == [
        "the algorithm 'ptq' is now called 'rtn'; write 'rtn' in recipes"
    ]
    assert torch.equal(old.weight, Pipeline([Stage("rtn")]).compress(model).weight)


def test_rtn_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Pipeline([Stage("rtn")]).compress(nn.Linear(8, 8))


def test_the_classes_keep_their_names():
    from corepress_plugins import quantization

    for name in ("PostTrainingQuantizer", "PostTrainingQuantizerConfig", "ModulePostTrainingQuantizerConfig"):
        assert getattr(quantization, name).__name__ == name
