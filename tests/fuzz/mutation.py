"""Damage to plain data, to text and to bytes; the same for the same random numbers."""

import copy
import random
from typing import Any

ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    3,
    2**63,
    10**40,
    -(10**20),
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "int4",
    "per_block",
    "nan",
    "1e9",
    "ü\u0000\ud7ff",
    "(((((a*)*)*)*)*)b",
    "a" * 3000,
    "range(10**9)",
    [],
    {},
    [[[[]]]],
    {"": {}},
    {"x": [1, "y", None]},
    [1, 2],
    [4, 2],
    (1,),
    b"bytes",
    2 + 1j,
    object,
    ...,
)

TOKENS = (
    "!!bool x",
    "!!python/object/apply:os.system [true]",
    "!!timestamp 2020-13-45",
    "&a [*a]",
    "*unknown",
    "<<: 3",
    "? [1]",
    "- - - -",
    "{[}",
    "\t",
    "'",
    ": :",
    "0o9",
    "1_000",
    "1:30",
    "%YAML 9.9\n---",
    "\u2028",
    "9" * 5000,
    "[" * 200,
)


def _places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in plain data."""
    found = [path]
    if isinstance(data, dict):
        for key, value in data.items():
            found += _places(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            found += _places(value, (*path, index))
    return found


def damaged(data: Any, numbers: random.Random) -> Any:
    """Return a copy of plain data with one to three values replaced, removed, moved or renamed."""
    data = copy.deepcopy(data)
    for _ in range(numbers.randint(1, 3)):
        places = _places(data)
        path = numbers.choice(places)
        if not path:
            if numbers.random() < 0.05:
                return copy.deepcopy(numbers.choice(ODD))
            continue
        owner = data
        for key in path[:-1]:
            owner = owner[key]
        key = path[-1]
        match numbers.randrange(6):
            case 0 | 1 | 2:
                owner[key] = copy.deepcopy(numbers.choice(ODD))
            case 3:
                del owner[key]
            case 4 if isinstance(owner, dict):
                owner[numbers.choice([None, 3, "x", f"{key}s", "algorithm", "config", ".*", "("])] = owner.pop(key)
            case _:
                owner[key] = (
                    {"x": owner[key]} if numbers.random() < 0.5 else [owner[key]] * numbers.choice([0, 1, 2, 300])
                )
    return data


def damaged_text(text: str, numbers: random.Random) -> str:
    """Return text with some of it cut, doubled, or replaced by what parsers trip over."""
    for _ in range(numbers.randint(1, 3)):
        start = numbers.randrange(len(text) + 1)
        stop = min(len(text), start + numbers.randrange(20))
        middle = numbers.choice(["", text[start:stop] * 2, numbers.choice(TOKENS), chr(numbers.randrange(32, 0x300))])
        text = text[:start] + middle + text[stop:]
    return text


def damaged_bytes(content: bytes, numbers: random.Random) -> bytes:
    """Return bytes with some of them flipped, cut off, doubled or overwritten."""
    changed = bytearray(content)
    match numbers.randrange(4):
        case 0:
            return bytes(changed[: numbers.randrange(len(changed) + 1)])
        case 1:
            start = numbers.randrange(len(changed) + 1)
            return bytes(changed[:start] + changed[start // 2 : start] + changed[start:])
        case _:
            for _ in range(numbers.choice([1, 4, 30])):
                if changed:
                    changed[numbers.randrange(len(changed))] = numbers.randrange(256)
    return bytes(changed)
