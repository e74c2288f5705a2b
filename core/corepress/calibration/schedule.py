"""Schedules: whether all layers are calibrated in one pass, or block by block on what compressed blocks compute."""

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

MODES = ("together", "sequential")


def _blocks(value: Iterable[str] | None) -> tuple[str, ...] | None:
    if isinstance(value, str):
        raise TypeError(f"blocks must be a list of names or regular expressions, not the string {value!r}")
    blocks = None if value is None else tuple(value)
    for block in blocks or ():
        if not isinstance(block, str):
            raise TypeError(f"blocks must be a list of names or regular expressions; it holds {block!r}")
    return blocks


def _at_least(least: int) -> Any:
    def check(_: object, attribute: Any, value: Any) -> None:
        if value is None:
            return
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"'{attribute.name}' must be an integer, not {value!r}")
        if value < least:
            raise ValueError(f"'{attribute.name}' must be >= {least}: {value}")

    return check


@attrs.frozen(kw_only=True)
class Schedule:
    """When the statistics of which weights are gathered.

    Args:
        mode: `together` (all weights in one pass) or `sequential` (block by block, each calibrated on the outputs of
            the compressed blocks before it).
        blocks: names of modules, or regular expressions that match them as a whole; by default the children of the
            model, or of its only child where that is a list of modules.
        batches: the most batches that are read; by default all that the configuration of the algorithm asks for.
        memory: the most bytes of cached inputs that are kept in memory; what is more goes to a temporary file. By
            default everything is kept in memory.
    """

    mode: str = attrs.field(default="together", validator=attrs.validators.in_(MODES))
    blocks: tuple[str, ...] | None = attrs.field(default=None, converter=_blocks)
    batches: int | None = attrs.field(default=None, validator=_at_least(1))
    memory: int | None = attrs.field(default=None, validator=_at_least(0))

    def most(self, most: int | None) -> int | None:
        """Return the most batches to read, where the algorithm asks for `most`."""
        limits = [limit for limit in (self.batches, most) if limit is not None]
        return min(limits, default=None)


@attrs.frozen(eq=False)
class Segment:
    """Some weights and their statistics, by weight name and statistic name.

    Write the weights before the next segment is asked for: its statistics are gathered behind them. `block` names the
    block of a sequential schedule; it is empty for all other weights.
    """

    names: tuple[str, ...]
    statistics: Mapping[str, Mapping[str, Any]]
    block: str = ""


@attrs.frozen(kw_only=True)
class SchedulePlan:
    """What a schedule will do, before it is done.

    `way` is `together`, `cached` (each block runs on cached inputs, the cost is linear) or `replayed` (the model runs
    up to each block); `reason` says why blocks are replayed. `blocks` are the names of the blocks in order. `passes`
    counts forward passes of the whole model for each batch, rounded up. `peak_bytes` are those of the statistics of one
    segment and of the inputs that are cached in memory, as far as they are known beforehand.
    """

    way: str
    passes: int
    peak_bytes: int
    blocks: tuple[str, ...] = ()
    reason: str = ""

    def describe(self) -> str:
        """Return the plan as one line."""
        size = f"about {self.peak_bytes / 2**20:.1f} MiB of statistics and cached inputs"
        if self.way == "together":
            return f"calibration: all layers together, 1 pass, {size}"
        how = "on cached block inputs" if self.way == "cached" else "replaying the model up to each block"
        why = f" ({self.reason})" if self.reason else ""
        return f"calibration: {len(self.blocks)} blocks one after another, {how}{why}, {self.passes} passes, {size}"
