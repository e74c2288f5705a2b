"""What happened to each plugin: a record that outlives the attempt to load it."""

from typing import Any

import attrs


class PluginWarning(UserWarning):
    """A plugin could not be loaded; everything else goes on. `corepress plugins --traceback NAME` shows more."""


@attrs.frozen(kw_only=True)
class PluginRecord:
    """One plugin that was found: where it comes from, what became of it, what it offers.

    `status` is `active`, `blocked` (by a block or allow list, not imported) or `failed` (see `error` and `traceback`).
    """

    name: str
    distribution: str
    version: str
    module: str
    status: str
    error: str | None = None
    traceback: str | None = None
    hooks: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """The unambiguous name, `distribution/name`."""
        return f"{self.distribution}/{self.name}"

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain data."""
        return attrs.asdict(self)
