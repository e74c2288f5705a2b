"""When observers, quantization and batch normalization change, by the number of calls of `step`."""

import attrs

_NEVER = -1


@attrs.frozen
class Milestones:
    """What the options say: how many calls of `step` come before each change takes effect; -1 for never."""

    observed: int
    quantized: int
    ended: int
    frozen: int
    always: bool = False

    @classmethod
    def of(cls, milestones: tuple[int, ...] | None) -> "Milestones":
        """Return the milestones of a configuration; without any, observers and quantization are always on."""
        if milestones is None:
            return cls(_NEVER, _NEVER, _NEVER, _NEVER, always=True)
        observed, quantized, ended, frozen = milestones
        return cls(observed, quantized, ended, frozen)

    def observes(self, steps: int) -> bool:
        """Return whether observers are on after so many calls of `step`."""
        return self.always or (_reached(self.observed, steps) and not _reached(self.ended, steps))

    def quantizes(self, steps: int) -> bool:
        """Return whether quantization is on."""
        return self.always or _reached(self.quantized, steps)

    def freezes(self, steps: int) -> bool:
        """Return whether batch normalization is frozen."""
        return _reached(self.frozen, steps)


def _reached(milestone: int, steps: int) -> bool:
    # The call that finds as many calls before it makes the change.
    return 0 <= milestone < steps
