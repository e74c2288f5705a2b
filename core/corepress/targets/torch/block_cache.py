"""The inputs of a run of blocks, batch by batch: captured in front of the first block, then moved on block by block."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from corepress.calibration.batches import LossFunction, check_number, numbered, run_batch
from corepress.calibration.gathering import Gathering
from corepress.calibration.nested import Path, leaves
from corepress.calibration.spool import Spool
from corepress.calibration.undisturbed import undisturbed
from corepress.errors import PlanError
from corepress.targets.torch.chain import Arguments, BlockReached, Link, Run, hidden_of, hidden_path, until_reached

Entry = tuple[Tensor, dict[Path, Any]]
"""The hidden tensor of a batch, and the arguments of the first block that later blocks get too."""


class BlockInputs:
    """The inputs of the next block of a run, for every batch."""

    def __init__(self, run: Run, memory: int | None) -> None:
        self._run = run
        self._needed = run.needed()
        self._entries = Spool(memory)

    @property
    def nbytes(self) -> int:
        """The bytes in memory."""
        return self._entries.nbytes

    def capture(
        self, model: nn.Module, data: Iterable[Any], loss_fn: LossFunction | None, *, fewest: int, most: int | None
    ) -> None:
        """Run the model up to the first block on every batch, and keep what that block gets."""
        with undisturbed(model), torch.no_grad():
            for number, batch in numbered(data, most):
                self._entries.append(self._captured(model, number, batch, loss_fn))
        check_number(len(self._entries), fewest)

    def gather(self, link: Link, gathering: Gathering) -> None:
        """Show statistics what the layers of a block read."""
        with undisturbed(link.block.module), torch.no_grad():
            for number, (hidden, first) in enumerate(self._entries):
                with gathering.listening(number):
                    _called(link, number, hidden, first)

    def advance(self, link: Link) -> None:
        """Replace what a block gets by what it computes, which the next one gets."""
        with undisturbed(link.block.module), torch.no_grad():
            for number in range(len(self._entries)):
                hidden, first = self._entries[number]
                found = hidden_of(_called(link, number, hidden, first))
                if found is None:
                    raise PlanError(
                        f"block {link.block.name} returns no tensor for batch {number}, as it did for batch 0"
                    )
                self._entries[number] = found, first

    def close(self) -> None:
        """Let go of the inputs."""
        self._entries.close()

    def _captured(self, model: nn.Module, number: int, batch: Any, loss_fn: LossFunction | None) -> Entry:
        caught: list[Arguments] = []

        def catch(_module: nn.Module, positional: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            caught.append((positional, keywords))
            raise BlockReached

        block = self._run.first
        with until_reached(block.module.register_forward_pre_hook(catch, with_kwargs=True)):
            run_batch(model, number, batch, loss_fn)
        path = hidden_path(caught[0]) if caught else None
        if path is None:
            raise PlanError(
                f"batch {number} of the calibration data does not reach block {block.name}, as batch 0 does"
            )
        given = dict(leaves(caught[0]))
        missing = self._needed - given.keys()
        if missing:
            raise PlanError(
                f"batch {number} of the calibration data calls block {block.name} with other arguments than batch 0; "
                "give all batches the same inputs"
            )
        return given[path], {at: leaf for at, leaf in given.items() if at in self._needed}


def _called(link: Link, number: int, hidden: Tensor, first: dict[Path, Any]) -> Any:
    """Call a block on a batch; an error says which, and of what shape its input was."""
    try:
        return link.call(hidden.clone(), first)
    except Exception as error:
        error.add_note(
            f"while block {link.block.name} ran on batch {number} of the calibration data, "
            f"whose input there has the shape {tuple(hidden.shape)}"
        )
        raise
