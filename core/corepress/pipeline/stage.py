"""A stage: one algorithm and its configuration."""

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import attrs

from corepress.blame import blamed
from corepress.calibration import Schedule
from corepress.config import CompressionConfig, Document, Problem, structure
from corepress.errors import UnknownAlgorithmError
from corepress.pipeline.scheduling import structure_schedule
from corepress.plugin import AlgorithmSpec, PluginRecord, registry


@attrs.frozen
class Stage:
    """Name an algorithm (`magnitude`, or `distribution/magnitude`) and configure it.

    `config` is a mapping, a configuration object of the algorithm, or None for its defaults. `calibration` is a
    `Schedule`, or a mapping of its options: whether layers are calibrated together or block by block.
    """

    algorithm: str
    config: CompressionConfig[Any] | Mapping[str, Any] | None = None
    calibration: Schedule | Mapping[str, Any] | None = None


@attrs.frozen(eq=False)
class BoundStage:
    """A stage whose algorithm was found and whose configuration is sound.

    `provider` is the plugin that offers the algorithm. `repeat` counts the earlier stages of the same algorithm.
    """

    index: int
    algorithm: str
    spec: AlgorithmSpec
    provider: PluginRecord
    config: CompressionConfig[Any]
    schedule: Schedule = attrs.field(factory=Schedule)
    repeat: int = 0

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the implementation: a copy imports its own.
        return type(self), attrs.astuple(self, recurse=False)

    @cached_property
    def implementation(self) -> Any:
        """The algorithm, imported at first use."""
        return self.spec.load_implementation()

    @property
    def on_weights(self) -> bool:
        """Whether the stage compresses weights."""
        return "weights" in self.spec.acts_on

    @property
    def on_activations(self) -> bool:
        """Whether the stage quantizes activations."""
        return "activations" in self.spec.acts_on

    @property
    def stream(self) -> str:
        """The name of the stage's random stream: the same whether other algorithms run before it, or in other runs."""
        return f"{self.spec.name}:{self.repeat}"

    @property
    def label(self) -> str:
        """How messages call the stage."""
        return f"stage {self.index + 1} ({self.algorithm})"

    @contextmanager
    def blamed(self, did: str, weight: str) -> Iterator[None]:
        """Add to an error what the stage was doing with which weight, and the plugin that it comes from."""
        with blamed(f"{self.label} of plugin {self.provider.identity}", f"{did} {weight}"):
            yield


def bind(
    stages: Sequence[tuple[int, Stage]], document: Document | None = None
) -> tuple[tuple[BoundStage, ...], list[Problem]]:
    """Find the algorithm of every numbered stage and structure its configuration; return the problems beside them."""
    bound: list[BoundStage] = []
    problems: list[Problem] = []
    repeats: Counter[int] = Counter()
    for index, stage in stages:
        found, wrong = _bind(index, stage, document)
        problems += wrong
        if found is not None:
            # The registry holds one description of each algorithm.
            bound.append(attrs.evolve(found, repeat=repeats[id(found.spec)]))
            repeats[id(found.spec)] += 1
    return tuple(bound), problems


def _bind(index: int, stage: Stage, document: Document | None) -> tuple[BoundStage | None, Iterable[Problem]]:
    path = f"stages[{index}]"
    plugins = registry()
    if not isinstance(stage.algorithm, str):
        return None, [Problem(f"{path}.algorithm", f"must be the name of an algorithm, got {stage.algorithm!r}")]
    if not isinstance(stage.config, Mapping | CompressionConfig | None):
        return None, [Problem(f"{path}.config", f"must be a mapping or a configuration object, got {stage.config!r}")]
    try:
        spec = plugins.find(stage.algorithm)
    except UnknownAlgorithmError as error:
        return None, [Problem(f"{path}.algorithm", str(error))]
    expected = spec.load_config()
    if isinstance(stage.config, CompressionConfig) and not isinstance(stage.config, expected):
        message = f"{stage.algorithm} takes a {expected.__name__}, got a {type(stage.config).__name__}"
        return None, [Problem(f"{path}.config", message)]
    config, problems = structure(expected, stage.config or {}, f"{path}.config", document)
    if config is not None:
        # Whoever goes on to change options of the configuration that was given does not change the pipeline.
        config = copy.deepcopy(config)
        problems = [*problems, *config.all_problems(f"{path}.config")]
    schedule, wrong = structure_schedule(stage.calibration, f"{path}.calibration")
    if config is None or schedule is None:
        return None, [*problems, *wrong]
    return BoundStage(index, stage.algorithm, spec, plugins.provider(spec), config, schedule), [*problems, *wrong]
