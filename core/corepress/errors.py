"""The errors that corepress raises; every message names the thing, the value and the way out."""

from collections.abc import Sequence


class CorepressError(Exception):
    """Base class of every error that corepress raises on purpose."""


class ConfigError(CorepressError, ValueError):
    """A configuration or a recipe is wrong; `problems` holds one line for each mistake found."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems) or (message,)


class UnknownAlgorithmError(ConfigError):
    """No usable plugin provides the algorithm, or more than one does."""


class PlanError(CorepressError, ValueError):
    """The pipeline cannot be carried out as asked; nothing has been touched."""


class PlanWarning(UserWarning):
    """Part of what was asked for will not be done; the plan and the report say what, and why."""


class PrecisionWarning(UserWarning):
    """A package's precision cannot hold what the model holds."""


class WeightError(CorepressError, ValueError):
    """A weight's values cannot be compressed, for example because they are not finite."""


class StateError(CorepressError, RuntimeError):
    """A call came in the wrong order, for example `finalize` before `prepare`."""


class PluginError(CorepressError, RuntimeError):
    """A plugin cannot be loaded or breaks its promises."""


class ExportError(CorepressError, ValueError):
    """A model cannot be written to, or read from, a Core ML program as asked."""


class OutputError(CorepressError, OSError):
    """An output cannot be written where it was asked for; what was there is what it was before."""


class VerificationError(CorepressError, AssertionError):
    """A Core ML program does not hold the weights of the model it is compared with, or computes something else."""
