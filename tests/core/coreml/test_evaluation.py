import coremltools as ct
import numpy as np
import pytest
import torch
from tests.networks.small import SmallNet
from torch import nn

from corepress.coreml import convert, evaluate
from corepress.errors import ConfigError, ExportError


def normal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SmallNet().eval()


@pytest.fixture(scope="module")
def package(network):
    return convert(network, normal(2, 3, 8, 8), compute_precision=ct.precision.FLOAT32)


@pytest.fixture(scope="module")
def batches(network):
    """Three batches; the network's own answers are the targets, but for the last sample of each batch."""
    found = []
    for size in (2, 4, 6):
        images = normal(size, 3, 8, 8)
        with torch.no_grad():
            classes = network(images).argmax(1)
        classes[-1] = (classes[-1] + 1) % 10
        found.append((images, classes))
    return found


def test_batches_count_by_their_size(package, batches):
    assert evaluate(package, batches, "accuracy") == pytest.approx(9 / 12)
    assert evaluate(package, batches, "accuracy", max_batches=1) == 0.5
    assert evaluate(package, iter(batches), "top5", max_batches=2) >= 4 / 6


def test_a_data_loader_will_do(package, batches):
    images, classes = (torch.cat(values) for values in zip(*batches, strict=True))
    dataset = torch.utils.data.TensorDataset(images, classes)
    assert evaluate(package, torch.utils.data.DataLoader(dataset, batch_size=4), "accuracy") == pytest.approx(9 / 12)


def test_a_stream_without_length_will_do(package, batches):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(batches)

    loader = torch.utils.data.DataLoader(Stream(), batch_size=None)
    assert evaluate(package, loader, "accuracy") == pytest.approx(9 / 12)


def test_a_function_gets_the_outputs_of_the_whole_batch(network, package, batches):
    seen = []

    def metric(outputs, target):
        seen.append((type(outputs), outputs.shape, target))
        with torch.no_grad():
            wanted = network(batches[len(seen) - 1][0]).numpy()
        return np.abs(outputs - wanted).max() < 1e-5

    assert evaluate(package, batches, metric) == 1
    assert seen == [(np.ndarray, (len(classes), 10), classes) for _, classes in batches]


def test_results_are_means(package, batches):
    assert evaluate(package, batches, lambda outputs, _: torch.tensor(float(len(outputs)))) == pytest.approx(56 / 12)


@pytest.mark.parametrize("size", [1, 3])
def test_a_batch_that_does_not_divide_is_refused(package, size):
    with pytest.raises(ExportError) as caught:
        evaluate(package, [(normal(2, 3, 8, 8), [0, 0]), (normal(size, 3, 8, 8), [0] * size)], "accuracy")
    assert str(caught.value) == (
        f"batch 1: the package takes 2 samples at a time, which do not divide {size}; use batches of a multiple of 2 "
        "(drop_last=True leaves out a smaller last one), or convert with a batch of 1 or a flexible one"
    )


def test_a_flexible_batch_takes_as_many_as_it_can(network):
    size = ct.RangeDim(1, 4, default=1)
    options = {"inputs": [ct.TensorType(name="x", shape=(size, 3, 8, 8))]}
    package = convert(network, normal(1, 3, 8, 8), compute_precision=ct.precision.FLOAT32, **options)
    for count in (1, 3, 6, 7):
        images = normal(count, 3, 8, 8)
        with torch.no_grad():
            wanted = network(images)
        assert evaluate(package, [(images, wanted)], "mse") < 1e-10


class Two(nn.Module):
    def forward(self, x, y):
        return x + y, x * y


@pytest.mark.parametrize("kind", ["tuple", "list", "dict"])
def test_several_inputs_and_outputs_have_names(kind):
    x, y = normal(1, 3), normal(1, 4)[:, :3]
    outputs = [ct.TensorType(name="sum"), ct.TensorType(name="product")]
    package = convert(Two(), {"x": x, "y": y}, compute_precision=ct.precision.FLOAT32, outputs=outputs)
    given = torch.cat([x, x + 1]), torch.cat([y, y])
    inputs = {"tuple": given, "list": [given[0].numpy(), given[1]], "dict": {"y": given[1], "x": given[0]}}[kind]

    def metric(found, target):
        assert list(found) == ["sum", "product"]
        return np.abs(found["product"] - target.numpy()).max()

    assert evaluate(package, [(inputs, given[0] * given[1])], metric) < 1e-6


def test_labels_of_a_classifier_are_compared(network, batches):
    names = [f"class {i}" for i in range(10)]
    options = {"classifier_config": ct.ClassifierConfig(names), "compute_precision": ct.precision.FLOAT32}
    package = convert(network, normal(1, 3, 8, 8), **options)
    labelled = [(images, [names[i] for i in classes]) for images, classes in batches]
    assert evaluate(package, labelled, "accuracy") == pytest.approx(9 / 12)
    assert evaluate(package, labelled, "top5") >= 9 / 12
    shapes = []
    evaluate(package, labelled, lambda outputs, _: shapes.append([len(value) for value in outputs.values()]) or 0)
    assert shapes == [[2, 2], [4, 4], [6, 6]]


def test_precision_is_that_of_the_interpreter(network):
    package = convert(network, normal(2, 3, 8, 8))
    images = normal(2, 3, 8, 8)
    with torch.no_grad():
        data = [(images, network(images))]
    assert evaluate(package, data, "mse", precision="float32") != evaluate(package, data, "mse")


def test_an_output_without_an_axis_of_samples_cannot_be_joined():
    class Total(nn.Module):
        def forward(self, x):
            return x.sum(0)

    package = convert(Total(), normal(2, 3), outputs=[ct.TensorType(name="total")])
    with pytest.raises(ExportError) as caught:
        evaluate(package, [(normal(4, 3), None)], lambda *_: 0)
    assert str(caught.value) == (
        "batch 0: output 'total' of shape (3,) has no axis of the 2 samples that the package takes at a time, so a "
        "larger batch cannot be joined; give batches of that size"
    )
    assert evaluate(package, [(normal(2, 3), None)], lambda found, _: found.shape[0]) == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "the data is empty; pass an iterable of at least one pair (inputs, target)"),
        ([torch.zeros(2, 3, 8, 8)], "batch 0: must be a pair (inputs, target), not a Tensor"),
        ([(1, 2, 3)], "batch 0: must be a pair (inputs, target), not a tuple of 3"),
        ([(torch.zeros(0, 3, 8, 8), [])], "batch 0: the batch has no samples; leave empty batches out"),
        ([((torch.zeros(2), 1), 0)], "batch 0: 2 inputs are given, but the program takes 'x'"),
        (
            [(torch.zeros(2, 3, 9, 9), [0, 0])],
            "batch 0: input 'x' must be fp32 of shape (2, 3, 8, 8), not of shape (2, 3, 9, 9)",
        ),
        (
            [({"z": torch.zeros(2, 3, 8, 8)}, [0, 0])],
            "batch 0: the program has no input 'z'; expected 'x' (fp32 of shape (2, 3, 8, 8))",
        ),
    ],
)
def test_wrong_data_is_refused(package, data, message):
    with pytest.raises(ExportError) as caught:
        evaluate(package, data, "accuracy")
    assert str(caught.value) == message


def test_wrong_options_are_refused_before_any_work(package):
    def never():
        raise AssertionError
        yield

    with pytest.raises(ConfigError, match=r"^metric must be one of"):
        evaluate(package, never(), "F1")
    with pytest.raises(ExportError) as caught:
        evaluate(package, never(), "mse", max_batches=0)
    assert str(caught.value) == "max_batches must be at least 1, or None for all, not 0"
    with pytest.raises(ExportError, match=r"^precision must be one of 'model', 'float32', not 'half'$"):
        evaluate(package, never(), "mse", precision="half")
