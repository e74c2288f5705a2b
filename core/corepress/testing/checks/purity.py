"""`encode` is a pure function: this is what makes runs parallel, repeatable and resumable."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from corepress.testing.randomness import global_random_state, stirred
from corepress.testing.snapshot import different_tensors
from corepress.testing.subject import ContractSubject, concerns


class PurityChecks(ContractSubject):
    """Checks that an encoding depends on the arguments of `encode` only, and that nothing else changes."""

    @concerns("weight")
    def test_encode_leaves_its_input_unchanged(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """Values, mask and statistics belong to the caller."""
        bench = self.workbench(config, make_model())
        for name in bench.weights:
            view, statistics = bench.view(name), bench.statistics.get(name, {})
            watched = {"weight.values": view.values} | {k: v for k, v in statistics.items() if isinstance(v, Tensor)}
            before = {what: value.clone() for what, value in watched.items()}
            bench.encode(name, view=view)
            for what, value in watched.items():
                assert bool((value == before[what]).all()), f"encode changed {what} of {name}; work on a copy"

    @concerns("weight")
    def test_encode_leaves_the_global_random_state_alone(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """A user's own random numbers must not depend on what was compressed before."""
        bench = self.workbench(config, make_model())
        for name in bench.weights:
            view = bench.view(name)
            before = global_random_state()
            bench.encode(name, view=view)
            after = global_random_state()
            drawn = [library for library, state in before.items() if state != after[library]]
            assert not drawn, f"encode draws from the global random state of {', '.join(drawn)}; use its argument rng"

    @concerns("weight")
    def test_encode_is_deterministic(self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]) -> None:
        """The same weight, configuration, statistics and rng give the same encoding."""
        bench = self.workbench(config, make_model())
        for name in bench.weights:
            with stirred(1):
                first = bench.encode(name)
            with stirred(2):
                again = bench.encode(name, implementation=self.implementation)
            assert first == again, (
                f"encode gave {name} two different encodings; take randomness from rng, and keep no state"
            )

    @concerns("weight")
    def test_the_order_of_weights_does_not_matter(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """An algorithm remembers nothing between two weights."""
        bench = self.workbench(config, make_model())
        algorithm = self.implementation
        forwards = {name: bench.encode(name, implementation=algorithm) for name in bench.weights}
        backwards = {name: bench.encode(name, implementation=algorithm) for name in reversed(bench.weights)}
        for name, encoding in forwards.items():
            assert encoding == backwards[name], (
                f"the encoding of {name} depends on the weights before it; keep no state"
            )

    @concerns("weight")
    def test_company_does_not_matter(self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]) -> None:
        """Weights that are encoded together become what they become alone."""
        bench = self.workbench(config, make_model())
        together = bench.encode_together()
        for name, encoding in together.items():
            assert encoding == bench.encode(name), (
                f"encode_together gives {name} another encoding than encode; let no weight depend on the others"
            )

    @concerns("weight")
    def test_the_number_of_workers_does_not_matter(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """Weights are encoded in several threads at a time."""
        alone = self.compressed(config, make_model(), workers=1)
        together = self.compressed(config, make_model(), workers=3)
        different = different_tensors(alone, together)
        assert not different, (
            f"with more workers {', '.join(different)} differ; threads share what encode keeps on self"
        )
