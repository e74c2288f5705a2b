"""What a compressed program holds."""

import pytest

from corepress.coreml import read_weights


@pytest.fixture
def stored():
    """Return a function that gives the weights of a program by the names of their constants."""
    return lambda model: {weight.name: weight for weight in read_weights(model) if len(weight.shape) > 1}


@pytest.fixture
def ops(stored):
    """Return a function that gives the types of the constant operations of each weight, joined by a space."""
    return lambda model: {
        name: " ".join(op.removeprefix("constexpr_") for op in weight.ops) for name, weight in stored(model).items()
    }


@pytest.fixture
def structure(stored):
    """Return a function that gives everything that a program is: interface, operations, values of constants."""

    def describe(model):
        spec = model.get_spec()
        (block,) = spec.mlProgram.functions["main"].block_specializations.values()
        operations = [
            (op.type, op.outputs[0].name, {key: [a.name for a in given.arguments] for key, given in op.inputs.items()})
            for op in block.operations
        ]
        constants = {name: weight.value.tolist() for name, weight in stored(model).items()}
        return spec.specificationVersion, str(spec.description), operations, constants

    return describe
