"""Run every benchmark for both systems in turn and print one table."""

import json
import subprocess
import sys

from tests.benchmarks.jobs import JOBS, available

HEADER = ("job", "system", "seconds", "peak MB", "error", "bytes", "accuracy", "times faster", "x floor")


def main(names: list[str]) -> None:
    """Print the results of the named jobs, or of all whose data is there."""
    rows = [HEADER]
    for name in names or [name for name in JOBS if available(name)]:
        results = {system: _measured(name, system) for system in JOBS[name].work}
        for system, found in results.items():
            rows.append(_row(JOBS[name].title, system, found, results if system == "corepress" else {}))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _measured(name: str, system: str) -> dict[str, float]:
    print(f"{name}: {system} ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.measure", name, system]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed with {system}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _row(title: str, system: str, found: dict[str, float], others: dict[str, dict[str, float]]) -> tuple[str, ...]:
    peer, floor = others.get("coremltools"), others.get("floor")

    def cell(key: str, form: str) -> str:
        return format(found[key], form) if found.get(key) is not None else "-"

    return (
        title,
        system,
        cell("seconds", ".3f"),
        cell("peak_mb", ".0f"),
        cell("error", ".5f"),
        cell("bytes", ".0f"),
        cell("accuracy", ".2%"),
        "-" if peer is None else f"{peer['seconds'] / found['seconds']:.1f}",
        "-" if floor is None else f"{found['seconds'] / floor['seconds']:.1f}",
    )


if __name__ == "__main__":
    main(sys.argv[1:])
