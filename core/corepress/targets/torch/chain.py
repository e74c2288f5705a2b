"""Which blocks of a model form a chain: each reads the output of the block before, and nothing else that changes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from corepress.calibration.nested import Path, leaves, rebuilt
from corepress.targets.torch.blocks import Block

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Identity = tuple[Any, ...]

_PLAIN = (bool, str, int, float, type(None), torch.dtype, torch.device)
_FIXED = (bool, str, type(None))


class BlockReached(BaseException):
    """Ends a call of the model early; no `except Exception` of the model stops it."""


@contextmanager
def until_reached(hook: RemovableHandle) -> Iterator[None]:
    """Run a model until a hook raises `BlockReached`, and remove the hook."""
    try:
        yield
    except BlockReached:
        pass
    finally:
        hook.remove()


@attrs.frozen(eq=False)
class Hidden:
    """Stands for the tensor that a block gets from the block before."""


@attrs.frozen
class FromFirst:
    """Stands for an argument of the first block of the run."""

    path: Path


@attrs.frozen(eq=False)
class Link:
    """How a block of a run is called: arguments in which `Hidden` and `FromFirst` stand for what differs by batch."""

    block: Block
    arguments: Arguments

    def call(self, hidden: Tensor, first: Mapping[Path, Any]) -> Any:
        """Return what the block computes; the hidden tensor must be nobody else's, since the block may write to it."""
        positional, keywords = rebuilt(self.arguments, lambda _, leaf: _filled(leaf, hidden, first))
        return self.block.module(*positional, **keywords)


@attrs.frozen(eq=False)
class Run:
    """Blocks that are calibrated from one set of cached inputs; a single block is replayed instead.

    `repeated` blocks are called several times by the model. `why` says why the run begins: what the first of its blocks
    reads does not come from the block before.
    """

    links: tuple[Link, ...]
    repeated: bool = False
    why: str = ""

    @property
    def first(self) -> Block:
        """The first block."""
        return self.links[0].block

    @property
    def cached(self) -> bool:
        """Whether the inputs of the blocks are cached."""
        return len(self.links) > 1

    def needed(self) -> set[Path]:
        """Return the paths of the arguments of the first block that blocks are called with, beside the tensor."""
        return {leaf.path for link in self.links for _, leaf in leaves(link.arguments) if isinstance(leaf, FromFirst)}


def hidden_of(output: Any) -> Tensor | None:
    """Return the tensor that a block hands on: its output, or the first of its outputs."""
    first = output[0] if isinstance(output, tuple | list) and output else output
    return first if isinstance(first, Tensor) else None


def hidden_path(arguments: Arguments) -> Path | None:
    """Return the path of the first tensor among the arguments of a block."""
    positional, keywords = arguments
    for path, leaf in (*(((0, n), x) for n, x in enumerate(positional)), *(((1, k), x) for k, x in keywords.items())):
        if isinstance(leaf, Tensor):
            return path
    return None


def runs_of(blocks: Sequence[Block], call: Callable[[], Any]) -> tuple[list[Run], list[Block]]:
    """Return the runs of the blocks in the order in which `call` calls them, and the blocks that it never calls."""
    trace = _Trace()
    with ExitStack() as hooks:
        for block in blocks:
            hooks.callback(block.module.register_forward_pre_hook(trace.before(block), with_kwargs=True).remove)
            hooks.callback(block.module.register_forward_hook(trace.after(block)).remove)
        call()
    return trace.runs(), [block for block in blocks if id(block) not in trace.calls]


class _Trace:
    """Watches the blocks in one call of the model, and keeps the arguments of the first block of the run alone."""

    def __init__(self) -> None:
        self.calls: dict[int, int] = {}
        self._runs: list[list[Link]] = []
        self._whys: list[str] = []
        self._first: dict[Path, Any] = {}
        self._written: dict[Path, Any] = {}
        self._output: Identity | None = None
        self._held: Tensor | None = None
        self._autocast = torch.is_autocast_enabled()
        self._alone = ""

    def before(self, block: Block) -> Callable[..., None]:
        def note(_module: nn.Module, positional: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            self.calls[id(block)] = self.calls.get(id(block), 0) + 1
            if self.calls[id(block)] > 1:
                return
            arguments = (positional, keywords)
            link, why = self._linked(block, arguments)
            if link is None:
                self._begin(block, arguments, why)
            else:
                self._runs[-1].append(link)

        return note

    def after(self, block: Block) -> Callable[..., None]:
        def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if self.calls.get(id(block)) == 1:
                self._held = hidden_of(output)
                self._output = None if self._held is None else _identity(self._held)

        return note

    def runs(self) -> list[Run]:
        """Return the runs, cut where a block was called again."""
        found: list[Run] = []
        for links, why in zip(self._runs, self._whys, strict=True):
            part: list[Link] = []
            for link in links:
                if self.calls[id(link.block)] > 1:
                    found += [Run(tuple(part), why=why)] if part else []
                    why = f"{link.block.name} is called {self.calls[id(link.block)]} times"
                    found.append(Run((link,), repeated=True, why=why))
                    part = []
                elif not part and link is not links[0]:
                    # The block before is called again, and this one begins a run with arguments of its own.
                    found.append(Run((link,), why=why))
                else:
                    part.append(link)
            found += [Run(tuple(part), why=why)] if part else []
        return found

    def _begin(self, block: Block, arguments: Arguments, why: str) -> None:
        path = hidden_path(arguments)
        self._first = dict(leaves(arguments))
        self._alone = self._obstacle(block)
        self._written = {at: _identity(leaf) for at, leaf in self._first.items() if isinstance(leaf, Tensor)}
        hidden = self._written.get(path) if path is not None else None
        template = rebuilt(
            arguments,
            lambda at, leaf: Hidden() if isinstance(leaf, Tensor) and _identity(leaf) == hidden else FromFirst(at),
        )
        self._runs.append([Link(block, template)])
        self._whys.append(why)

    def _obstacle(self, block: Block) -> str:
        """Return why a block cannot be called again with the same arguments, or nothing."""
        if torch.is_autocast_enabled() != self._autocast:
            return f"{block.name} runs in autocast"
        opaque = {type(leaf).__name__ for leaf in self._first.values() if not isinstance(leaf, (Tensor, *_PLAIN))}
        return f"{block.name} gets an argument of type {min(opaque)}, which may keep state" if opaque else ""

    def _linked(self, block: Block, arguments: Arguments) -> tuple[Link | None, str]:
        """Return how the block hangs on the block before, or why it does not."""
        if not self._runs:
            return None, ""
        if self._alone:
            return None, self._alone
        path = hidden_path(arguments)
        given = None if path is None else dict(leaves(arguments))[path]
        if given is None or self._output is None or _identity(given) != self._output:
            return None, f"{block.name} does not read the output of the block before as it is"
        if torch.is_autocast_enabled() != self._autocast:
            return None, f"{block.name} runs in autocast"
        problems: list[str] = []

        def referred(at: Path, leaf: Any) -> Any:
            if isinstance(leaf, Tensor):
                return self._tensor(leaf, problems)
            if isinstance(leaf, _PLAIN):
                if at in self._first and type(self._first[at]) is type(leaf) and self._first[at] == leaf:
                    return FromFirst(at)
                if isinstance(leaf, _FIXED):
                    return leaf
            problems.append(f"an argument of type {type(leaf).__name__}")
            return None

        template = rebuilt(arguments, referred)
        if problems:
            return None, f"{block.name} gets {problems[0]} that may differ from block to block"
        return Link(block, template), ""

    def _tensor(self, leaf: Tensor, problems: list[str]) -> Any:
        mine = _identity(leaf)
        if mine == self._output:
            return Hidden()
        for path, known in self._written.items():
            if known == mine:
                return FromFirst(path)
        problems.append("a tensor")
        return None


def _identity(tensor: Tensor) -> Identity:
    """Return what tells a tensor from all others as long as it is held: its place, its shape and its version."""
    version = 0 if tensor.is_inference() else tensor._version
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, str(tensor.device), version


def _filled(leaf: Any, hidden: Tensor, first: Mapping[Path, Any]) -> Any:
    if isinstance(leaf, Hidden):
        return hidden
    return first[leaf.path] if isinstance(leaf, FromFirst) else leaf
