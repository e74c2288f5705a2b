"""Replace a package again and again, until someone kills this process: at any moment, or at the one that is aimed at.

Run as a script with the path of the package, the stamp to begin with, and the name of a moment or "any".
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.core.files.packages import write_package

from corepress.files import rename, replacement, replacing, workspace


def _die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _then_die(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Any, **keywords: Any) -> None:
        function(*arguments, **keywords)
        _die()

    return run


def _aim(moment: str) -> None:
    exclusively = rename.rename_exclusively
    if moment == "while the new package is written":
        globals()["write_package"] = lambda path, _: (path.mkdir(), (path / "half").touch(), _die())
    elif moment == "before the exchange":
        replacement.exchange = _die
    elif moment == "after the exchange":
        replacement.exchange = _then_die(replacement.exchange)
    elif moment == "while the old package is removed":

        def remove_half(folder: Path, **_: Any) -> None:
            for file in folder.rglob("a"):
                file.unlink()
                _die()

        workspace.shutil.rmtree = remove_half
    elif moment == "between two renames":
        rename._system_rename = lambda: None

        def die_at_the_second(source: Path, target: Path) -> None:
            if target.exists():
                exclusively(source, target)
            _die()

        replacement.rename_exclusively = die_at_the_second
    elif moment == "after two renames":
        rename._system_rename = lambda: None

        def die_after_the_second(source: Path, target: Path) -> None:
            exclusively(source, target)
            _die()

        replacement.rename_exclusively = die_after_the_second


if __name__ == "__main__":
    out, stamp, moment = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    _aim(moment)
    while True:
        stamp += 1
        with replacing(out, package=True) as new:
            write_package(new, str(stamp))
