"""What is known of one weight while a plan is drawn up, and the row that comes of it."""

from collections.abc import Collection

import attrs
import torch

from corepress.encoding import DenseForm, Form, SparseForm
from corepress.pipeline.report import Row
from corepress.targets import Target, Weight

PACKAGE = "iOS18"
"""The deployment target that sizes are for where none is wanted."""


@attrs.define
class Draft:
    """A weight, the form that it will have, the stages that have accepted it, and the reasons of those that have not.

    `predicted` is off once a stage cannot tell its form beforehand; `form` is then right in kind only. Sizes are those
    in a `package` for this deployment target.
    """

    weight: Weight
    form: Form
    package: str
    predicted: bool = True
    steps: list[str] = attrs.field(factory=list)
    rules: list[str] = attrs.field(factory=list)
    skipped: list[str] = attrs.field(factory=list)
    left: list[str] = attrs.field(factory=list)

    def row(self) -> Row:
        """Return the line of the plan."""
        count = self.weight.facts.count
        reasons = self.skipped or ([] if self.steps else self.left)
        return Row(
            name=self.weight.name,
            names=self.weight.names,
            kind=self.weight.kind,
            shape=self.weight.shape,
            status="planned" if self.steps else "skipped" if self.skipped else "left",
            steps=tuple(self.steps),
            rules=tuple(self.rules),
            reason="; ".join(dict.fromkeys(reasons)),
            form=self.form.describe() if self.predicted else "known when done",
            sparsity=self.form.sparsity if self.predicted and isinstance(self.form, SparseForm) else None,
            bytes_before=DenseForm().nbytes(count, self.package),
            bytes_after=self.nbytes(),
        )

    def nbytes(self) -> int | None:
        """Return the size of the form, where it is known.

        Raises:
            ValueError: a form of a plugin has no size for the target.
        """
        if not self.predicted:
            return None
        return self.weight.in_constants(self.form).nbytes(self.weight.facts.count, self.package)


def other_rows(target: Target, planned: Collection[str]) -> list[Row]:
    """Return a line for every parameter that no stage can compress."""
    rows = []
    for name, (shape, reason) in target.others().items():
        if name in planned:
            continue
        size = DenseForm().nbytes(torch.Size(shape).numel(), PACKAGE)
        rows.append(
            Row(name=name, kind="", shape=shape, status="unknown", reason=reason, bytes_before=size, bytes_after=size)
        )
    return rows
