"""Exit codes, error messages without tracebacks, and the option `--debug`."""

import io
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from corepress.errors import ConfigError, CorepressError, PlanWarning, PrecisionWarning
from corepress.plugin import PluginWarning

_DEBUG = "corepress.debug"


class WorkFailed(click.ClickException):
    """The work failed."""

    exit_code = 1


class WrongUsage(click.ClickException):
    """A name, a file or a configuration that the user gave is wrong."""

    exit_code = 2


def _note_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    # A command and its group share `meta`, so that `--debug` works before and after the name of the command.
    context.meta[_DEBUG] = context.meta.get(_DEBUG, False) or value


def _debug_option() -> click.Option:
    return click.Option(
        ["--debug"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_note_debug,
        help="Show the traceback of an error.",
    )


class Command(click.Command):
    """A command that takes `--debug`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(_debug_option())


class Group(click.Group):
    """A group whose commands exit with 0 (success), 1 (the work failed) or 2 (wrong usage or configuration)."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(_debug_option())

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Turn an exception into one message on stderr and an exit code."""
        _print_what_can_be_printed()
        try:
            with _plain_warnings():
                return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except BrokenPipeError:
            # Whoever reads the output may stop reading, as `head` does. What was asked for is done before it is shown.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(0) from None
        except (SystemExit, GeneratorExit) as error:
            raise WrongUsage(f"code of yours has ended the command with {type(error).__name__}: {error}") from error
        except Exception as error:
            if ctx.meta.get(_DEBUG):
                click.echo(traceback.format_exc(), err=True, nl=False)
            raise _failure(error) from error


def _print_what_can_be_printed() -> None:
    """Let a terminal show a question mark for a character that it does not have, such as an arrow."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _failure(error: Exception) -> click.ClickException:
    message = str(error) if isinstance(error, CorepressError) else f"{type(error).__name__}: {error}"
    notes = getattr(error, "__notes__", ())
    kind = WrongUsage if isinstance(error, ConfigError) else WorkFailed
    return kind("\n".join([message, *notes]))


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show the warnings of corepress without a line of code, which would be one of click."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_plainly(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, PlanWarning | PrecisionWarning | PluginWarning):
                click.echo(f"Warning: {message}", err=True)
            else:
                show(message, category, *where)

        warnings.showwarning = show_plainly  # type: ignore[assignment]
        yield
