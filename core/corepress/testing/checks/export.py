"""Core ML: the compressed model as a package."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from torch import nn

from corepress.coreml import DeploymentTarget, check, convert, verify
from corepress.errors import ExportError
from corepress.testing.subject import ContractSubject, concerns


class ExportChecks(ContractSubject):
    """Checks that a package holds the weights of the compressed model, bit for bit."""

    @concerns("export")
    def test_the_package_holds_the_compressed_weights(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """What a deployment target cannot store is refused, in the plan and on conversion; all else is exact."""
        wanted = str(self.minimum_deployment_target)
        model = make_model()
        bench = self.workbench(config, model)
        small = self.compressed(config, model)
        inputs = self.batches(model)[0]
        if not _can_store(bench.handles_on(small).values(), wanted):
            with pytest.raises(ExportError):
                convert(small, inputs, minimum_deployment_target=wanted)
            return
        package = convert(small, inputs, minimum_deployment_target=wanted)
        verified = verify(package, small, inputs).as_dict()
        missing = [name for name in bench.weights if not verified[name]["equal"]]
        assert not missing, f"the package holds other values, or none, for {', '.join(missing)}"


def _can_store(weights: Any, target: str) -> bool:
    try:
        for weight in weights:
            check(weight.encoding().form, DeploymentTarget.parse(target))
    except ExportError:
        return False
    return True
