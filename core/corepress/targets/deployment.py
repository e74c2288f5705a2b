"""Deployment targets: which Core ML a program must run on."""

import enum
import re
from typing import Any, Self

from corepress.errors import ExportError

_FIRST_IOS = {"macos": 3, "watchos": 7, "tvos": 0, "ios": 0}
_FIRST_UNIFIED_VERSION = 26


class DeploymentTarget(enum.IntEnum):
    """The oldest system that a program runs on, ordered; the value is the version of the model specification.

    macOS, watchOS and tvOS releases stand for the iOS release of the same year.
    """

    iOS15 = 6  # noqa: N815
    iOS16 = 7  # noqa: N815
    iOS17 = 8  # noqa: N815
    iOS18 = 9  # noqa: N815
    iOS26 = 10  # noqa: N815

    @classmethod
    def parse(cls, target: Any) -> Self:
        """Return the target that `"iOS18"`, `"macOS15"`, `"ios18"` or `coremltools.target.iOS18` stands for.

        Raises ExportError for anything else and for targets without ML programs.
        """
        name = target if isinstance(target, str) else getattr(target, "name", repr(target))
        match = re.fullmatch(r"(ios|macos|watchos|tvos)(\d+)", name.strip().lower())
        if match:
            family, version = match[1], int(match[2])
            year = version if version >= _FIRST_UNIFIED_VERSION else version + _FIRST_IOS[family]
            if f"iOS{year}" in cls.__members__:
                return cls[f"iOS{year}"]
        raise ExportError(f"minimum_deployment_target {name!r} is not one of {', '.join(cls.__members__)}")

    @classmethod
    def of_specification(cls, version: int) -> Self:
        """Return the target of a version of the model specification.

        Raises ExportError for versions that have no ML programs, and for newer ones than are known.
        """
        if version in cls._value2member_map_:
            return cls(version)
        newest = max(cls)
        if version > newest:
            raise ExportError(
                f"the model has specification version {version}; this version of corepress knows those up to "
                f"{int(newest)} ({newest}); update corepress"
            )
        raise ExportError(
            f"the model has specification version {version}, which has no ML programs (they begin with "
            f"{int(min(cls))}, {min(cls)}); convert it again"
        )

    def __str__(self) -> str:
        return self.name
