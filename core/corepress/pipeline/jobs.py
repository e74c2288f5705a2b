"""Jobs and outcomes: what one call of an algorithm works on, and what comes of it."""

import math
from collections.abc import Iterable, Iterator, Mapping

import attrs
from torch import Tensor

from corepress.encoding import WeightEncoding
from corepress.pipeline.report import Row
from corepress.targets import Realized

# Small weights are worth encoding in one call, as long as there is something left for the other workers.
_FEWEST, _MOST = 1 << 18, 1 << 22
_BATCHES = 8


@attrs.frozen
class Job:
    """Weights that one stage encodes in one call; plain data."""

    stage: int
    weights: tuple[str, ...]

    @property
    def key(self) -> str:
        """A name that is the same in every run of the same plan."""
        return f"{self.stage}:{','.join(self.weights)}"


@attrs.frozen(eq=False)
class Outcome:
    """What a stage has made of one weight, or why it has left the weight as it was.

    `row` is its line in the report, with the error measured while the original was in memory. `encoding` is what the
    weight is now, for later stages; None where the stage has skipped it. `made` is what is to be written; None while a
    later stage will change it. `bias_shift` (output channels,) is what the bias of the layer makes up for.
    """

    weight: str
    row: Row
    seconds: float = 0.0
    encoding: WeightEncoding | None = None
    made: Realized | None = None
    reason: str | None = None
    bias_shift: Tensor | None = None


def cut(stage: int, shapes: Mapping[str, Iterable[int]], *, batched: bool) -> Iterator[Job]:
    """Yield jobs for weights of these shapes: one for each, or `batched`, several small ones in one.

    How they are cut depends on the weights alone, so that results do not depend on the number of workers.
    """
    if not batched:
        yield from (Job(stage, (name,)) for name in shapes)
        return
    counts = {name: math.prod(shape) for name, shape in shapes.items()}
    most = min(max(sum(counts.values()) // _BATCHES, _FEWEST), _MOST)
    batch: list[str] = []
    left = most
    for name, count in counts.items():
        if batch and count > left:
            yield Job(stage, tuple(batch))
            batch, left = [], most
        batch.append(name)
        left -= count
    if batch:
        yield Job(stage, tuple(batch))
