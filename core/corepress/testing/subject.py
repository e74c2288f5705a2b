"""What a contract is about: an algorithm, the configurations and models to try it on, and what it is concerned with."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from corepress.encoding import KIND_OF_PRODUCT
from corepress.pipeline import Pipeline, Stage
from corepress.plugin import AlgorithmSpec, registry
from corepress.testing.networks import ConvolutionalNetwork, TiedNetwork
from corepress.testing.workbench import Workbench

F = TypeVar("F", bound=Callable[..., None])


class ContractSubject:
    """The attributes that a contract's subclass may set, and what its checks derive from them."""

    algorithm: ClassVar[str]
    """The name of the algorithm in recipes."""

    configs: ClassVar[Sequence[Mapping[str, Any]]] = ({},)
    """Module configurations to try, as mappings."""

    models: ClassVar[Sequence[Callable[[], nn.Module]]] = (ConvolutionalNetwork, TiedNetwork)
    """What makes the models to try it on, the same model at every call."""

    data: Any = None
    """Batches for every model, or a method that returns those of a model; None asks the model's own `batches()`."""

    plugins: ClassVar[Sequence[Any]] = ()
    """Plugin modules that are not installed; an installed plugin needs no mention."""

    minimum_deployment_target: ClassVar[str | None] = "iOS18"
    """The Core ML target to export to; None for an algorithm whose encodings have no place in a package."""

    steps: ClassVar[int] = 4
    """The steps of a training run, enough for the algorithm to take effect; even, so that it can be cut in half."""

    acts_at_once: ClassVar[bool] = False
    """Whether outputs may change as soon as a model is prepared; say so in the algorithm's docstring."""

    def loss_fn(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the loss of a model on a batch; by default its distance from one everywhere."""
        outputs: Tensor = model(*batch)
        return (outputs - 1).square().mean()

    def batches(self, model: nn.Module) -> list[Any]:
        """Return the batches for a model."""
        if self.data is None:
            assert hasattr(model, "batches"), (
                f"set `data` to batches for {type(model).__name__}, which has no batches()"
            )
            return list(model.batches())  # type: ignore[operator]
        found: Iterable[Any] = self.data(model) if callable(self.data) else self.data
        return list(found)

    @property
    def spec(self) -> AlgorithmSpec:
        """The algorithm's descriptor."""
        return registry().find(self.algorithm)

    @property
    def implementation(self) -> Any:
        """A new instance of the algorithm."""
        return self.spec.load_implementation()

    def is_declared(self, kind: str) -> bool:
        """Tell whether a kind of encoding is what the descriptor declares, or one of the plugin's own."""
        return kind == KIND_OF_PRODUCT[self.spec.produces] or kind not in KIND_OF_PRODUCT.values()

    def workbench(self, config: Mapping[str, Any], model: nn.Module) -> Workbench:
        """Return the algorithm at work on a model, weight by weight."""
        return Workbench(self.algorithm, config, model, self.batches(model), self.loss_fn)

    def pipeline(self, config: Mapping[str, Any]) -> Pipeline:
        """Return a pipeline of the algorithm alone."""
        return Pipeline([Stage(self.algorithm, {"global_config": config})])

    def prepared(self, pipeline: Pipeline, model: nn.Module, *, inplace: bool = False) -> nn.Module:
        """Return a model prepared by a pipeline of the algorithm, run once where activations are quantized."""
        example = self.batches(model)[0] if "activations" in self.spec.acts_on else None
        return pipeline.prepare(model, example, inplace)

    def compressed(self, config: Mapping[str, Any], model: nn.Module, **options: Any) -> nn.Module:
        """Return a model compressed by the algorithm alone."""
        pipeline = options.pop("pipeline", None) or self.pipeline(config)
        small: nn.Module = pipeline.compress(model, data=self.batches(model), loss_fn=self.loss_fn, **options)
        return small


def concerns(*kinds: str) -> Callable[[F], F]:
    """Mark a check that concerns algorithms of one of these kinds only; it is not collected for others."""

    def mark(check: F) -> F:
        check.concerns = kinds  # type: ignore[attr-defined]
        return check

    return mark
