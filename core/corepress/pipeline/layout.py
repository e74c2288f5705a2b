"""Draw a plan or a report for people; the notes below it answer "why is my model not smaller?"."""

from collections import defaultdict
from collections.abc import Sequence

from corepress.config.suggestions import some_names
from corepress.pipeline.report import DONE, Row, Table

_HEADER = ("weight", "shape", "steps", "stored as", "bits", "zeros", "bytes", "after", "ratio", "error", "SNR dB", "s")
_LEFT = 4


def render(table: Table) -> str:
    """Return the table as aligned text: compressed weights, totals, then what was not compressed and why."""
    lines = [_cells(row) for row in table.rows if row.status in DONE]
    lines.append(_totals(table))
    text = _aligned([_HEADER, *lines])
    notes = [*_notes(table), *table.notes, *(f"warning: {warning}" for warning in table.warnings)]
    return "\n".join([f"{table.title} (bytes as in a Core ML package with float16 values)", *text, *notes])


def _cells(row: Row) -> tuple[str, ...]:
    return (
        " = ".join(row.names or (row.name,)),
        "×".join(map(str, row.shape)),
        " → ".join(row.steps),
        row.form,
        _number(row.bits, ".2f"),
        _number(row.sparsity, ".1%"),
        str(row.bytes_before),
        _number(row.bytes_after, "d"),
        _number(row.ratio, ".2f"),
        _number(row.relative_error, ".4f"),
        _number(row.snr_db, ".1f"),
        _number(row.seconds, ".3f"),
    )


def _totals(table: Table) -> tuple[str, ...]:
    t = table.totals
    return (
        f"whole model: {t['compressed']} of {t['weights']} parameters",
        *("", "", ""),
        _number(t["bits"], ".2f"),
        "",
        str(t["bytes_before"]),
        _number(t["bytes_after"], "d"),
        _number(t["ratio"], ".2f"),
        *("", ""),
        _number(t["seconds"], ".3f"),
    )


def _notes(table: Table) -> list[str]:
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in table.rows:
        if row.status not in DONE:
            groups[row.status, row.reason].append(row)
    biggest_first = sorted(groups.items(), key=lambda item: -sum(row.bytes_before for row in item[1]))
    total = max(sum(row.bytes_before for row in table.rows), 1)
    notes = []
    for (status, reason), rows in biggest_first:
        size = sum(row.bytes_before for row in rows)
        names = some_names([row.name for row in rows])
        word = "skipped" if status == "skipped" else "not compressed"
        notes.append(f"{word}: {names} ({size} bytes, {size / total:.1%} of the model): {reason}")
    notes += [f"skipped in part: {row.name}: {row.reason}" for row in table.done if row.reason]
    grown = [row for row in table.done if row.bytes_after is not None and row.bytes_after > row.bytes_before]
    return notes + [f"larger than before: {row.name}: {row.form} takes {row.bytes_after} bytes" for row in grown]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        " | ".join(
            cell.ljust(width) if column < _LEFT else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
