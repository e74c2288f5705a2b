"""Frames: in which module's `forward` a torch function is called."""

import sys
import threading
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from corepress.algorithm import Simulator


class _Frame:
    """One call of a module, and how many operations of each kind it has made so far."""

    __slots__ = ("counts", "module", "path", "running")

    def __init__(self, path: str, module: nn.Module, running: FrameType | None) -> None:
        self.path = path
        self.module = module
        self.counts: dict[str, int] = {}
        self.running = running

    def next_ordinal(self, kind: str) -> int:
        """Count one more operation of a kind, and return how many there were before."""
        before = self.counts.get(kind, 0)
        self.counts[kind] = before + 1
        return before

    def is_over(self) -> bool:
        """Return whether the call has ended without leaving the frame, as an interrupt from the keyboard ends it."""
        if self.running is None:
            return False
        try:
            self.running.clear()
        except RuntimeError:
            # Python clears no frame that is being executed.
            return False
        return True


class ModuleMode(TorchFunctionMode):
    """Sees every torch function that the modules of a model call in their `forward`.

    Each module of the model enters and leaves it in hooks, so that it also sees what activation checkpointing computes
    again, outside of the call of the model. Frames are kept for each thread.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stacks: dict[int, list[_Frame]] = {}

    def install(self, model: nn.Module) -> list[Any]:
        """Add hooks to the modules of a model, and return their handles."""
        handles = []
        simulated = {id(m) for s in model.modules() if isinstance(s, Simulator) for m in s.modules()}
        for path, module in model.named_modules():
            if id(module) in simulated:
                continue
            handles.append(module.register_forward_pre_hook(_Enter(self, path)))
            handles.append(module.register_forward_hook(_Leave(self, path), always_call=True))
        return handles

    def uninstall(self, model: nn.Module) -> None:
        """Take the hooks off a model again, or off a copy of it that this mode was copied with."""
        for module in model.modules():
            for hooks in (module._forward_pre_hooks, module._forward_hooks):
                for key in [key for key, hook in hooks.items() if isinstance(hook, _Hook) and hook.mode is self]:
                    del hooks[key]
                    module._forward_hooks_always_called.pop(key, None)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_stacks": {}}

    def frames(self) -> list[_Frame]:
        """Return the modules that are being called in this thread, the innermost last."""
        # torch.compile does not know of threads; what it compiles is called in one.
        thread = 0 if torch.compiler.is_compiling() else threading.get_ident()
        if thread not in self._stacks:
            self._stacks[thread] = []
        return self._stacks[thread]

    def frame(self) -> _Frame | None:
        """Return the innermost call; None outside of the model."""
        frames = self.frames()
        return frames[-1] if frames else None


class _Hook:
    def __init__(self, mode: ModuleMode, path: str) -> None:
        self.mode = mode
        self.path = path


class _Enter(_Hook):
    def __call__(self, module: nn.Module, _: Any) -> None:
        frames = self.mode.frames()
        if not frames:
            self.mode.__enter__()  # type: ignore[no-untyped-call]
        while frames and frames[-1].is_over():
            frames.pop()
        running = None if torch.compiler.is_compiling() else sys._getframe(1)
        frames.append(_Frame(self.path, module, running))


class _Leave(_Hook):
    def __call__(self, *_: Any) -> None:
        frames = self.mode.frames()
        if not frames or frames[-1].path != self.path:
            # A hook before ours has raised: the frame was never entered.
            return
        frames.pop()
        if not frames:
            self.mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]


def modes_on(model: nn.Module) -> list[ModuleMode]:
    """Return the modes that the hooks of a model enter."""
    return [hook.mode for hook in model._forward_pre_hooks.values() if isinstance(hook, _Enter)]
