"""The labels of classifiers."""

from typing import Any

from torch import Tensor

from corepress.coreml.interpreter.handlers import computes


@computes("classify", exact=True)
def classify(probabilities: Tensor, classes: Any) -> tuple[Any, dict[Any, float]]:
    labels = [label.item() if hasattr(label, "item") else label for label in classes]
    return labels[int(probabilities.argmax())], dict(zip(labels, probabilities.reshape(-1).tolist(), strict=True))
