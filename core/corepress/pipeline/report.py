"""Plan and report: one table, before and after. A mapping from weight name to row, readable and machine-readable."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self

import attrs

from corepress.config.suggestions import did_you_mean, some_names

DONE = ("planned", "compressed")
WHOLE = "global"
"""The key of the row of the whole model, which is no line of the table."""


@attrs.frozen(kw_only=True)
class Row:
    """What happens, or has happened, to one weight.

    Bytes are those of a Core ML package with float16 values, for the wanted deployment target or else for iOS18.
    `status` is `planned`, `compressed`, `skipped` (a rule reached it, it cannot be compressed so), `left` (no rule, or
    one that says so) or `unknown` (no compressible kind).
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    status: str
    names: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    reason: str = ""
    form: str = "dense"
    sparsity: float | None = None
    bytes_before: int = 0
    bytes_after: int | None = None
    relative_error: float | None = None
    seconds: float | None = None
    measures: Mapping[str, float] = attrs.field(factory=dict)

    @property
    def count(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def without(self, refusals: Mapping[str, str]) -> Self:
        """Return the planned row without the steps that algorithms have refused, by algorithm."""
        steps = tuple(step for step in self.steps if step not in refusals)
        reason = joined(refusals)
        if steps:
            return attrs.evolve(
                self, steps=steps, reason=reason, form="known when done", sparsity=None, bytes_after=None
            )
        return attrs.evolve(
            self, status="skipped", steps=(), reason=reason, form="dense", sparsity=None, bytes_after=self.bytes_before
        )

    @property
    def stored(self) -> bool:
        """Whether it is a parameter that takes space; quantized activations take none."""
        return bool(self.bytes_before)

    @property
    def bits(self) -> float | None:
        """Bits per weight, side information included."""
        return None if self.bytes_after is None else 8 * self.bytes_after / max(self.count, 1)

    @property
    def ratio(self) -> float | None:
        """How many times smaller the weight becomes."""
        return None if not self.bytes_after else self.bytes_before / self.bytes_after

    @property
    def snr_db(self) -> float | None:
        """Signal-to-noise ratio of the compressed weight in decibels; infinite when it is exact."""
        if self.relative_error is None:
            return None
        return -20 * math.log10(self.relative_error) if self.relative_error else math.inf

    def __getitem__(self, column: str) -> Any:
        """Return a column, or one of the measures of the algorithm, by its name."""
        columns = self._columns()
        if column not in columns:
            raise KeyError(f"{self.name} has no column {column!r}{did_you_mean(str(column), columns)}")
        return columns[column]

    def keys(self) -> Iterable[str]:
        """Return the names of all columns and measures, so that `dict(row)` holds them."""
        return self._columns().keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def _columns(self) -> dict[str, Any]:
        return {**self.as_dict(), "#params": self.count, "error": self.relative_error, **self.measures}

    def as_dict(self) -> dict[str, Any]:
        """Return the row as plain data, derived columns included."""
        plain = attrs.asdict(self)
        for derived in ("count", "bits", "ratio", "snr_db"):
            plain[derived] = getattr(self, derived)
        return plain


class Table(Mapping[str, Row]):
    """Rows by weight name, with totals. Tied weights are found under each of their names and counted once."""

    title: ClassVar[str] = "Table"

    def __init__(
        self,
        rows: tuple[Row, ...],
        *,
        warnings: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
        seconds: float | None = None,
    ) -> None:
        self.rows = rows
        self.warnings = warnings
        self.notes = notes
        self.seconds = seconds
        self._by_alias = {alias: row for row in rows for alias in (*row.names, row.name)}
        for row in self.done:
            # A module's name will do for its weight, where it has one.
            self._by_alias.setdefault(row.name.rpartition(".")[0], row)

    def __getitem__(self, name: str) -> Row:
        return self._whole() if name == WHOLE and name not in self._by_alias else self._by_alias[name]

    def _whole(self) -> Row:
        """Return the row of the whole model: sums, and measures as means by the number of elements."""
        totals, done = self.totals, [row for row in self.done if row.stored]
        names = dict.fromkeys(name for row in done for name in row.measures)
        measures = {}
        for name in names:
            known = [(row.measures[name], row.count) for row in done if row.measures.get(name, -1.0) >= 0]
            count = sum(each for _, each in known)
            measures[name] = sum(value * each for value, each in known) / count if count else -1.0
        return Row(
            name=WHOLE,
            kind="model",
            shape=(totals["count"],),
            status=done[0].status if done else "left",
            bytes_before=totals["bytes_before"],
            bytes_after=totals["bytes_after"],
            measures=measures,
        )

    def __iter__(self) -> Iterator[str]:
        return (row.name for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def done(self) -> tuple[Row, ...]:
        """The rows of weights that are compressed, or planned to be."""
        return tuple(row for row in self.rows if row.status in DONE)

    @property
    def totals(self) -> dict[str, Any]:
        """Sums over the whole model: elements, bytes before and after, ratio, and bits per weight."""
        stored = [row for row in self.rows if row.stored]
        count = sum(row.count for row in stored)
        before = sum(row.bytes_before for row in stored)
        unknown = any(row.bytes_after is None for row in stored)
        after = None if unknown else sum(row.bytes_after or 0 for row in stored)
        return {
            "weights": len(stored),
            "compressed": sum(row.stored for row in self.done),
            "count": count,
            "bytes_before": before,
            "bytes_after": after,
            "ratio": before / after if after else None,
            "bits": 8 * after / max(count, 1) if after is not None else None,
            "seconds": self.seconds,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return rows, totals and warnings as plain data."""
        return {
            "rows": {row.name: row.as_dict() for row in self.rows},
            "totals": self.totals,
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }

    def to_json(self, indent: int | None = 2) -> str:
        """Return the table as JSON; infinite values are written as null."""
        return json.dumps(_finite(self.as_dict()), indent=indent)

    def __str__(self) -> str:
        from corepress.pipeline.layout import render

        return render(self)

    __repr__ = __str__


class Plan(Table):
    """What a pipeline would do to a model: nothing has been touched."""

    title = "Plan"


class Report(Table):
    """What a pipeline has done to a model."""

    title = "Report"


def joined(refusals: Mapping[str, str]) -> str:
    """Return in a line why algorithms, by name, have left a weight as it was."""
    return "; ".join(f"{algorithm}: {reason}" for algorithm, reason in refusals.items())


def some_of(reasons: Mapping[str, str], most: int = 3) -> str:
    """Return reasons by weight name in a line: the first names of each reason, and how many more there are."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        by_reason.setdefault(reason, []).append(name)
    told = []
    for reason, names in list(by_reason.items())[:most]:
        told.append(f"{some_names(names, most)}: {reason}")
    if len(by_reason) > most:
        told.append("and more, for other reasons")
    return "; ".join(told)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
