"""Run a contract by hand and see which checks fail; make contracts for variations of the example plugin."""

import inspect
import itertools
from types import SimpleNamespace

import attrs
import pytest
from tests.core.testing.rounding.plugin import SPEC

from corepress.plugin import hookimpl
from corepress.testing import AlgorithmContract, TiedNetwork


@pytest.fixture
def failing_checks():
    """Return a function that runs every check of a contract and returns the messages of those that fail, by name."""

    def run(contract):
        found = {}
        for name in (n for n in dir(contract) if n.startswith("test_") and callable(getattr(contract, n))):
            for error in filter(None, _errors(contract, name)):
                found[name] = str(error)
        return found

    return run


def _errors(contract, name):
    check = getattr(contract, name)
    wanted = inspect.signature(check).parameters
    offered = {"config": contract.configs, "make_model": contract.models}
    offered |= {mark.args[0]: list(mark.args[1]) for mark in getattr(check, "pytestmark", ())}
    for values in itertools.product(*(offered[argument] for argument in wanted if argument != "self")):
        subject = contract()
        subject.setup_method()
        try:
            getattr(subject, name)(*values)
        except Exception as error:
            yield error
        finally:
            subject.teardown_method()


@pytest.fixture
def contract_of():
    """Return a function that makes the contract of the example plugin with another implementation or descriptor."""

    def make(implementation=None, *, acts_at_once=False, **changes):
        if implementation is not None:
            changes["implementation"] = f"{implementation.__module__}:{implementation.__name__}"
        spec = attrs.evolve(SPEC, **changes)
        plugin = SimpleNamespace(
            __name__="tests.core.testing.rounding.plugin", register_algorithms=hookimpl(lambda: [spec])
        )
        attributes = {"algorithm": spec.name, "plugins": [plugin], "models": [TiedNetwork]}
        attributes |= {"minimum_deployment_target": None, "acts_at_once": acts_at_once}
        return type("Contract", (AlgorithmContract,), attributes)

    return make
