"""What can happen to a file: bytes, values, types, and something else in its place."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isoprune.types.json_files import sealed

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**63, 2**70, 1e308, 0.5, "", "x", "../x", "\x1b[2J\n", "nan", [], [1], [[]],
    {}, {"a": 1}, {"name": 3}, {"name": "os:system"},
)  # fmt: skip
SECONDS = 120  # no case may take so long: it hangs


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to every value within plain data."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*path, key)
        yield from places(one, (*path, key))


def changed(value: Any, draw: random.Random, *, odd: bool) -> Any:
    """Return plain data with one value changed: a little, or (``odd``) to something of another kind."""
    value = json.loads(json.dumps(value))
    path = draw.choice([p for p in places(value) if p[-1] != "checksum"])
    at = value
    for key in path[:-1]:
        at = at[key]
    old, last = at[path[-1]], path[-1]
    if odd and draw.random() < 0.2 and isinstance(at, dict):
        del at[last]
    elif odd:
        at[last] = draw.choice(ODD)
    elif isinstance(old, bool):
        at[last] = not old
    elif isinstance(old, int | float):
        at[last] = old + draw.choice((-1, 1, 2, 10))
    elif isinstance(old, str):
        at[last] = old[:-1] or "y"
    elif isinstance(old, list):
        at[last] = old[:-1] if old else [1]
    elif isinstance(old, dict):
        at[last] = dict(list(old.items())[1:]) if old else {"a": 1}
    else:
        at[last] = 1
    return value


def flipped(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "flipped": flipped,
    "cut": lambda content, draw: content[: draw.randrange(len(content))],
    "longer": lambda content, draw: content + draw.randbytes(draw.randrange(1, 50)),
    "emptied": lambda *_: b"",
    "zeros": lambda content, _: bytes(len(content)),
    "other bytes": lambda content, draw: draw.randbytes(len(content)),
    "doubled": lambda content, _: content * 2,
    "deep": lambda *_: b"[" * 100_000,
    "other JSON": lambda _, draw: json.dumps(draw.choice(ODD)).encode(),
    "a value": lambda content, draw: json.dumps(changed(json.loads(content), draw, odd=False)).encode(),
    "a type": lambda content, draw: json.dumps(changed(json.loads(content), draw, odd=True)).encode(),
}
SIGNED = {"a value, signed": False, "a type, signed": True}


def signed(content: bytes, draw: random.Random, *, odd: bool) -> bytes:
    """Change a value and compute the checksum anew, as somebody does who means it."""
    return sealed(changed(json.loads(content), draw, odd=odd))


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


PLACES: dict[str, Callable[[Path], object]] = {
    "missing": lambda _: None,
    "a directory": lambda path: path.mkdir(),
    "a pipe": _fifo,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a terabyte": _sparse,
}


def damage(path: Path, draw: random.Random, *, sign: bool = False) -> str:
    """Damage a file in one of all ways that its kind knows, and return which."""
    content = path.read_bytes()
    kinds = [*BYTES, *PLACES] if not sign or draw.random() < 0.1 else [*SIGNED]
    if path.suffix != ".json":
        kinds = [kind for kind in kinds if not kind.startswith(("a value", "a type"))]
    kind = draw.choice(kinds)
    if kind in PLACES:
        remove(path)
        PLACES[kind](path)
    elif kind in SIGNED:
        path.write_bytes(signed(content, draw, odd=SIGNED[kind]))
    else:
        path.write_bytes(BYTES[kind](content, draw))
    return kind


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def in_time() -> Iterator[None]:
    """Raise in place of a hang."""

    def late(*_: object) -> None:
        raise TimeoutError(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
