"""Example inputs, from shapes or from a function."""

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from corepress.cli.commands import WrongUsage
from corepress.cli.references import called, resolve

_DTYPES = {"float16": torch.float16, "float32": torch.float32, "int32": torch.int32, "int64": torch.int64}


def example_inputs(shapes: Sequence[str], function: str | None, model: str) -> Any:
    """Return the example inputs of a conversion.

    The sources are `shapes` such as "1,3,224,224" or "1,128:int32", and `function` (`package.module:name`). Without
    both, the source is `example_inputs` in the module of `model`: a function, or the inputs themselves.

    Raises:
        WrongUsage: no source or both sources are given, or a source is wrong.
    """
    if shapes and function:
        raise WrongUsage("give --example-input or --example-inputs, not both")
    if shapes:
        return tuple(map(_from_shape, shapes))
    if function:
        return called(resolve(function, "example inputs"), function, "example inputs")
    module = model.partition(":")[0]
    found = getattr(sys.modules[module], "example_inputs", None)
    if found is None:
        raise WrongUsage(
            "an .mlpackage needs example inputs: give --example-input 1,3,224,224, --example-inputs "
            f"package.module:function, or write a function example_inputs in {module!r}"
        )
    return called(found, f"{module}:example_inputs", "example inputs") if callable(found) else found


def _from_shape(text: str) -> Tensor:
    numbers, _, dtype = text.partition(":")
    try:
        shape = [int(number) for number in numbers.split(",")]
    except ValueError:
        shape = []
    if not shape or min(shape) < 1 or dtype not in {"", *_DTYPES}:
        raise WrongUsage(
            f"example input {text!r} must look like 1,3,224,224 or 1,128:int32; dtypes: {', '.join(_DTYPES)}"
        )
    kind = _DTYPES[dtype or "float32"]
    if not kind.is_floating_point:
        # Zero is a valid index everywhere, in vocabularies of any size.
        return torch.zeros(shape, dtype=kind)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(kind)
