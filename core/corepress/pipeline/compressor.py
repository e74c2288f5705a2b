"""Compressors that are bound to a model when they are made: one algorithm, the verbs of the reference documentation."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from torch import nn

from corepress.config import CompressionConfig
from corepress.pipeline.pipeline import Pipeline
from corepress.pipeline.protocol import LossFunction
from corepress.pipeline.report import Report
from corepress.pipeline.stage import Stage
from corepress.plugin import registry
from corepress.targets.torch.kinds import known_classes


class BoundCompressor:
    """One algorithm bound to one model; a pipeline of a single stage does the work.

    Args:
        model: the model to compress.
        config: a configuration of the algorithm, or a mapping; None for its defaults.
    """

    algorithm: ClassVar[str]

    def __init__(self, model: nn.Module, config: CompressionConfig[Any] | Mapping[str, Any] | None = None) -> None:
        self.model = model
        self.pipeline = Pipeline([Stage(registry().own(self.algorithm, self._package()), config)])

    @classmethod
    def _package(cls) -> str:
        """Return the package of the class that names the algorithm, which another plugin may name too."""
        owner = next(each for each in cls.__mro__ if "algorithm" in vars(each))
        return owner.__module__.partition(".")[0]

    @property
    def config(self) -> Any:
        """The complete configuration."""
        return self.pipeline.stages[0].config

    @property
    def supported_modules(self) -> tuple[type[nn.Module], ...]:
        """The classes of modules that rules about everything select."""
        return known_classes(registry().find(self.pipeline.stages[0].algorithm).default_kinds)

    def compress(
        self,
        dataloader: Iterable[Any] | None = None,
        loss_fn: LossFunction | None = None,
        *,
        inplace: bool = False,
        workers: int | None = None,
    ) -> nn.Module:
        """Return the compressed model, without training; `dataloader` and `loss_fn` where the algorithm needs them."""
        model: nn.Module = self.pipeline.compress(
            self.model, data=dataloader, loss_fn=loss_fn, inplace=inplace, workers=workers
        )
        return model

    def prepare(self, example_inputs: Any = None, inplace: bool = False) -> nn.Module:
        """Attach simulators and return the model to train: a copy, unless `inplace`, which may be the only argument."""
        if isinstance(example_inputs, bool):
            example_inputs, inplace = None, example_inputs
        return self.pipeline.prepare(self.model, example_inputs, inplace)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield what is learned beside the weights, such as scales, for an optimizer made before `prepare`."""
        return self.pipeline.parameters()

    def step(self) -> None:
        """Advance the schedule; call it once for every step of the training loop."""
        self.pipeline.step()

    def finalize(self, model: nn.Module | None = None, inplace: bool = False) -> nn.Module:
        """Turn simulators into compressed weights; `model` is the prepared one unless given."""
        return self.pipeline.finalize(model, inplace)

    def report(self) -> Report:
        """Return what has become of every weight."""
        return self.pipeline.report()

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on later."""
        return self.pipeline.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.pipeline.load_state_dict(state)
