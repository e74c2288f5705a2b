"""YAML files that know on which line everything stands."""

import bisect
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

import attrs
import yaml

from corepress.config.problems import Problem, join_path, raise_problems, shown
from corepress.errors import ConfigError

_MOST_ENTRIES = 100_000
"""More than any recipe has: an alias that stands for aliases is written in a line, and is millions of entries."""


@attrs.frozen
class Document:
    """Hold the mapping read from a YAML file, its name, and the line of each path such as "stages[0].algorithm"."""

    name: str
    data: Mapping[str, Any]
    lines: Mapping[str, int] = attrs.field(factory=dict, repr=False)

    def line(self, path: str) -> int | None:
        """Return the line of `path`, or of the nearest value around it that the file does contain."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path)

    def origin(self, path: str) -> str | None:
        """Return the place of `path` as in "recipe.yaml, line 9"; None when the file does not contain it."""
        return f"{self.name}, line {self.lines[path]}" if path in self.lines else None

    def within(self, prefix: str) -> dict[str, str]:
        """Return the origin of every path below `prefix`, as seen from there."""
        if not prefix:
            return {path: f"{self.name}, line {line}" for path, line in self.lines.items()}
        found = {}
        for start in (prefix + ".", prefix + "["):
            for position in range(bisect.bisect_left(self._paths, start), len(self._paths)):
                path = self._paths[position]
                if not path.startswith(start):
                    break
                found[path.removeprefix(prefix).removeprefix(".")] = f"{self.name}, line {self.lines[path]}"
        return found

    @cached_property
    def _paths(self) -> list[str]:
        """All paths, sorted: those below a prefix lie side by side, also in a file of thousands of stages."""
        return sorted(self.lines)


def load_yaml(source: str | Path | TextIO) -> Document:
    """Read a mapping from a path or from a text stream; an empty file is an empty mapping.

    Raises `ConfigError` for a missing file, broken YAML, keys given twice and anything that is not a mapping.
    """
    name, content = _read(source)
    try:
        return _parse(name, content)
    except ConfigError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, " if mark else ""
        raise ConfigError(f"{name}: {where}broken YAML: {error.problem or error.context}") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: the file is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{name}: broken YAML: {error}") from error
    except Exception as error:
        # Tags such as !!timestamp fail in any way where their value is none.
        raise ConfigError(f"{name}: broken YAML: {type(error).__name__}: {error}") from error


def _parse(name: str, content: str | bytes) -> Document:
    loader = _Loader(content)
    root = loader.get_single_node()
    if root is None:
        return Document(name, {})
    _refuse_repeated_keys(name, root)
    data = loader.construct_document(root)
    if data is None:
        return Document(name, {})
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: the file must hold a mapping of options, not {_kind(data)}")
    # Only the constructed tree has the keys that `<<` merges in, with the lines on which they stand.
    return Document(name, data, {path: line for path, line, _ in _entries(root, "", ())})


def dump_yaml(data: Mapping[str, Any]) -> str:
    """Return plain data as YAML text that `load_yaml` reads back, in the order of its keys."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def _read(source: str | Path | TextIO) -> tuple[str, str | bytes]:
    if hasattr(source, "read"):
        stream_name = getattr(source, "name", None)
        return (Path(stream_name).name if isinstance(stream_name, str) else "<yaml>"), source.read()
    if not isinstance(source, str | Path):
        raise ConfigError(f"expected a path or a text stream, got {source!r}")
    if isinstance(source, str) and "\n" in source:
        raise ConfigError("expected the path of a YAML file, not its text; wrap text in io.StringIO")
    path = Path(source)
    try:
        return path.name, path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(path)!r}: the file cannot be read: {error}") from error


class _Loader(yaml.SafeLoader):
    """Reads 1e-4 as a number, as YAML 1.2 does; YAML 1.1 takes it for text."""


class _Dumper(yaml.SafeDumper):
    """Writes quotes around the text 1e-4, so that the loader does not read it as a number."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(  # type: ignore[no-untyped-call]
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
        list("-+.0123456789"),
    )


def _refuse_repeated_keys(name: str, root: yaml.Node) -> None:
    again = {}
    for number, (path, line, repeated) in enumerate(_entries(root, "", ())):
        if number >= _MOST_ENTRIES:
            raise ConfigError(
                f"{name}: the file has more than {_MOST_ENTRIES} entries, an alias (*name) counted as all that it is"
            )
        if repeated:
            again[path] = line
    problems = [Problem(path, "this key is given a second time in the same mapping; keep one") for path in again]
    raise_problems(problems, Document(name, {}, again))


def _entries(node: yaml.Node, path: str, around: tuple[yaml.Node, ...]) -> Iterator[tuple[str, int, bool]]:
    """Yield the path and the line of everything in a node, and whether its key was already in the same mapping."""
    if node in around:
        return
    inside = (*around, node)
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            place = f"{path}[{position}]"
            yield place, item.start_mark.line + 1, False
            yield from _entries(item, place, inside)
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, item in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            place = join_path(path, str(key.value))
            identity = key.tag, str(key.value)
            yield place, key.start_mark.line + 1, identity in seen
            yield from _entries(item, place, inside)
            seen.add(identity)


def _kind(data: object) -> str:
    return "a list" if isinstance(data, list) else shown(data)
