"""The number formats that a configuration can ask for."""

import re
from enum import StrEnum

from corepress.config.suggestions import did_you_mean, listed
from corepress.errors import ConfigError


class DType(StrEnum):
    """Name a number format; `parse` accepts every customary spelling of it."""

    INT8 = "int8"
    INT6 = "int6"
    INT4 = "int4"
    INT3 = "int3"
    INT2 = "int2"
    UINT8 = "uint8"
    UINT6 = "uint6"
    UINT4 = "uint4"
    UINT3 = "uint3"
    UINT2 = "uint2"
    UINT1 = "uint1"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FP8_E4M3 = "fp8_e4m3"
    FP8_E5M2 = "fp8_e5m2"

    def __eq__(self, other: object) -> bool:
        """Compare with a name, and with a torch dtype."""
        if (type(other).__module__, type(other).__name__) != ("torch", "dtype"):
            return str.__eq__(self, other)  # type: ignore[arg-type]
        try:
            return self is DType.parse(other)
        except ConfigError:
            return False

    __hash__ = str.__hash__

    @property
    def bits(self) -> int:
        """Return the width of one value in bits."""
        found = re.search(r"\d+", self.value)
        assert found is not None
        return int(found.group())

    @property
    def signed(self) -> bool:
        """Return whether values below zero exist."""
        return not self.value.startswith("u")

    @property
    def is_float(self) -> bool:
        """Return whether the format is a floating-point one."""
        return "int" not in self.value

    @property
    def spellings(self) -> tuple[str, ...]:
        """Return every spelling that `parse` accepts, in lower case and without the prefix "torch."."""
        aliases = [alias for alias, name in _ALIASES.items() if name == self.value]
        if not self.is_float:
            short = self.value.replace("int", "i")
            aliases += ["q" + self.value, short, "q" + short]
        return (self.value, *aliases)

    @classmethod
    def parse(cls, value: object) -> "DType":
        """Return the format named by a string, a torch dtype, or a numpy scalar type, in any case.

        Raises `ConfigError` with the nearest names for anything else.
        """
        if isinstance(value, cls):
            return value
        spelling = value.__name__ if isinstance(value, type) else str(value)
        name = spelling.lower().removeprefix("torch.")
        name = _ALIASES.get(name) or _SHORT_INTEGER.sub(r"\1int\2", name)
        if name in _VALUES:
            return cls(name)
        near = did_you_mean(name, _VALUES, count=3) or f"; known are {listed(_VALUES)}"
        raise ConfigError(f"unknown dtype {spelling!r}{near}")


_VALUES = tuple(member.value for member in DType)
_SHORT_INTEGER = re.compile(r"^q?(u?)i(?:nt)?(\d)$")
_ALIASES = {
    **dict.fromkeys(["float", "f32", "fp32"], "float32"),
    **dict.fromkeys(["half", "f16", "fp16"], "float16"),
    "bf16": "bfloat16",
    "u8": "uint8",
    **dict.fromkeys(["fp8_e4m3fn", "float8_e4m3fn", "float8_e4m3"], "fp8_e4m3"),
    "float8_e5m2": "fp8_e5m2",
}
