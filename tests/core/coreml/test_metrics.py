from types import SimpleNamespace

import numpy as np
import pytest
import torch

from corepress.coreml.metrics import metric_of, value_of
from corepress.errors import ConfigError, ExportError


def described(*outputs, label="", probabilities=""):
    return SimpleNamespace(
        output=[SimpleNamespace(name=name) for name in outputs],
        predictedFeatureName=label,
        predictedProbabilitiesName=probabilities,
    )


def measure(metric, outputs, target):
    return value_of(metric_of(metric, described("y"))(np.array(outputs), target))


SCORES = [[0.1, 0.9, 0.0], [0.8, 0.1, 0.1], [0.2, 0.2, 0.6], [0.5, 0.5, 0.0]]


@pytest.mark.parametrize("kind", [torch.tensor, np.array, list])
def test_accuracy_is_the_share_of_largest_scores(kind):
    assert measure("accuracy", SCORES, kind([1, 0, 0, 0])) == 0.75


def test_of_equal_scores_the_first_class_counts():
    assert measure("accuracy", [[1.0, 1.0]] * 2, [0, 1]) == 0.5
    assert measure("top5", [[1.0] * 7] * 7, range(7)) == pytest.approx(5 / 7)


def test_five_classes_are_enough_for_top5():
    scores = np.arange(8.0)[None].repeat(8, 0)
    assert measure("top5", scores, range(8)) == 5 / 8


def test_a_score_that_is_nan_is_no_hit():
    assert measure("accuracy", [[np.nan, np.nan], [0.0, 1.0]], [0, 1]) == 0.5


def test_classes_are_along_axis_1_or_the_last():
    scores = np.zeros((2, 3, 4))
    scores[:, 2] = 1
    assert measure("accuracy", scores, np.full((2, 4), 2)) == 1
    assert measure("accuracy", scores.swapaxes(1, 2), np.full((2, 4), 2)) == 1


def test_one_sample_may_have_a_number_as_target():
    assert measure("accuracy", [[0.0, 1.0]], 1) == 1
    assert measure("accuracy", [0.0, 1.0], 1) == 1


def test_outputs_that_are_classes_are_compared():
    assert measure("accuracy", [1, 2, 3], [1, 2, 4]) == pytest.approx(2 / 3)


def test_mse_is_computed_in_double_precision():
    found = np.array([[300.0, 0.0]], np.float16)
    assert measure("mse", found, torch.zeros(1, 2)) == 45000


@pytest.mark.parametrize(
    ("metric", "outputs", "target", "message"),
    [
        (
            "accuracy",
            SCORES,
            [1, 2],
            "an output of shape (4, 3) has scores of classes along axis 1 or the last one; the target must hold class "
            "numbers and have the other axes, not int64 of shape (2,)",
        ),
        ("top5", SCORES, [1, 2, 3, 0], "the target has class 3, the output has scores of classes 0 to 2"),
        ("accuracy", SCORES, [1, 2, -100, 0], "the target has class -100, the output has scores of classes 0 to 2"),
        ("mse", [1.0, 2.0], [[1.0, 2.0]], "the target must have the shape of the output, (2,), not (1, 2)"),
        (lambda *_: "good", [1.0], [1.0], "the metric must return a number or an array of numbers, not 'good'"),
    ],
)
def test_what_does_not_fit_is_refused(metric, outputs, target, message):
    with pytest.raises(ExportError) as caught:
        measure(metric, outputs, target)
    assert str(caught.value) == message


def test_an_unknown_metric_is_refused_with_the_nearest():
    with pytest.raises(ConfigError) as caught:
        metric_of("acuracy", described("y"))
    assert str(caught.value) == (
        "metric must be one of 'accuracy', 'top5', 'mse', or a function, not 'acuracy'; did you mean 'accuracy'?"
    )


def test_named_metrics_are_for_one_output():
    with pytest.raises(ExportError) as caught:
        metric_of("mse", described("a", "b"))
    assert str(caught.value) == "metric 'mse' is for one output, the package has 'a', 'b'; give a function"


CLASSIFIER = described("label", "scores", label="label", probabilities="scores")


def test_labels_of_a_classifier_are_compared_with_labels():
    outputs = {"label": np.array(["cat", "dog"]), "scores": [{c: -i for i, c in enumerate("abcdefg")}] * 2}
    assert value_of(metric_of("accuracy", CLASSIFIER)(outputs, ["cat", "cat"])) == 0.5
    assert value_of(metric_of("top5", CLASSIFIER)(outputs, ("e", "f"))) == 0.5
    numbers = {"label": np.array([3]), "scores": [{3: 1.0}]}
    assert value_of(metric_of("accuracy", CLASSIFIER)(numbers, torch.tensor(3))) == 1


def test_targets_of_another_kind_than_the_labels_are_refused():
    with pytest.raises(ExportError) as caught:
        metric_of("accuracy", CLASSIFIER)({"label": np.array(["cat", "dog"])}, [0, 1])
    assert str(caught.value) == ("the target must hold 2 class labels, strings like 'cat', not int64 of shape (2,)")


@pytest.mark.parametrize("result", [0.5, np.float32(0.5), np.array([0, 1]), torch.tensor([False, True])])
def test_arrays_and_tensors_count_as_their_mean(result):
    assert value_of(result) == 0.5
