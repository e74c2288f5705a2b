"""Say in the error of somebody else's code what it was doing."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from corepress.errors import PluginError


@contextmanager
def blamed(who: str, doing: str) -> Iterator[None]:
    """Add a note to an error of the `with` block: who was doing what, such as `compressed 0.weight`.

    Raises:
        PluginError: the block would have ended the process.
    """
    try:
        yield
    except SystemExit as error:
        raise PluginError(f"{who} ended the process with SystemExit({error}) while it {doing}") from error
    except Exception as error:
        # An odd error of a plugin may take no notes; it is still the one to raise.
        with suppress(Exception):
            note = f"while {who} {doing}"
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
        raise


def class_name(instance: object) -> str:
    """Return how notes call an object of a plugin: by the path of its class."""
    cls = type(instance)
    return f"{cls.__module__}.{cls.__qualname__}"
