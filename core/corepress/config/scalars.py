"""Single values without coercion: what each type accepts, and how it says no."""

import math
import numbers
import re
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType
from typing import Annotated, Any, get_args

from corepress.config.dtypes import DType
from corepress.config.problems import invalid, shown
from corepress.config.suggestions import did_you_mean, listed

TypeKey = Annotated[str, "a class or a function, or the name of one"]
NameKey = Annotated[str, "a name, or a regular expression for names"]

PATTERN_SIGNS = frozenset("*+?[]()|^${}\\")


def to_bool(value: object, _: Any) -> bool:
    """Accept true and false only."""
    if isinstance(value, bool):
        return value
    raise invalid(f"must be true or false, got {shown(value)}")


def to_int(value: object, _: Any) -> int:
    """Accept integers, also numpy's; neither 4.0 nor True is one."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    raise invalid(f"must be an integer, got {shown(value)}{_without_quotes(value)}")


def to_float(value: object, _: Any) -> float:
    """Accept finite numbers; integers become floats."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise invalid(f"must be a number, got {shown(value)}{_without_quotes(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise invalid(f"must be a finite number, got {shown(value)}")
    return number


def to_str(value: object, _: Any) -> str:
    """Accept strings."""
    if isinstance(value, str):
        return str.__str__(value)
    raise invalid(f"must be a string, got {shown(value)}{_with_quotes(value)}")


def to_none(value: object, _: Any) -> None:
    """Accept None."""
    if value is not None:
        raise invalid(f"must be null, got {shown(value)}")


def to_enum(value: object, cls: type[Enum]) -> Enum:
    """Accept a member, or the value of one."""
    if isinstance(value, cls):
        return value
    return cls(_choice(value, [member.value for member in cls]))


def to_literal(value: object, literal: Any) -> object:
    """Accept one of the values of a `Literal`."""
    return _choice(value, get_args(literal))


def to_dtype(value: object, _: Any) -> DType:
    """Accept every spelling that `DType.parse` knows."""
    return DType.parse(value)


def to_type_key(value: object, _: Any) -> str:
    """Accept a class or a function, stored as "module.qualname", or a name."""
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, FunctionType | BuiltinFunctionType | MethodDescriptorType):
        return f"{_home(value)}.{value.__name__}"
    return _key(value)


def _home(function: FunctionType | BuiltinFunctionType | MethodDescriptorType) -> str:
    """Return the public module of a function, or the class of a method: torch and operator have them elsewhere."""
    if isinstance(function, MethodDescriptorType):
        owner = function.__objclass__
        return "torch.Tensor" if owner.__module__.startswith("torch") else f"{owner.__module__}.{owner.__qualname__}"
    module = function.__module__ or "torch._C"
    return "torch" if module.startswith("torch._") else module.removeprefix("_")


def to_name_key(value: object, _: Any) -> str:
    """Accept a name or a valid regular expression."""
    key = _key(value)
    if PATTERN_SIGNS.intersection(key):
        try:
            re.compile(key)
        except (re.error, OverflowError, RecursionError) as error:
            raise invalid(f"{shown(key)} is not a valid regular expression: {error}") from error
    return key


def _key(value: object) -> str:
    if value == "":
        raise invalid("a key must not be empty")
    return to_str(value, str)


def _choice(value: object, choices: Any) -> Any:
    found = [choice for choice in choices if type(choice) is type(value) and choice == value]
    if found:
        return found[0]
    near = did_you_mean(value, [choice for choice in choices if isinstance(choice, str)])
    raise invalid(f"must be one of {listed(choices)}, got {shown(value)}{near}")


def _without_quotes(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?", value.strip()):
        return f"; write {value.strip()} without quotes"
    return ""


def _with_quotes(value: object) -> str:
    return f"; write '{value}' in quotes" if isinstance(value, int | float) and not isinstance(value, bool) else ""
