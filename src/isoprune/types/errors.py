"""Errors that the user can fix, one line each. Loads without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")
# What names a network that is made by code.
SOURCES = "torchvision:resnet50, timm:NAME, transformers:MODEL_TYPE or my_package.module:function"


class IsopruneError(ValueError):
    """An error that the user can fix: the command line prints it as one line and exits with 2."""


class MissingPackage(IsopruneError, ImportError):
    """A module cannot be imported without a package: ``except ImportError`` catches it as it does others."""


def one_line(error: Exception, most: int | None = None) -> str:
    """Return an error's message in one line, of ``most`` characters at the most; its type if it has none."""
    return " ".join(str(error).split())[:most].rstrip(".") or type(error).__name__


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'? Known: ..." for a word that is none of ``known``."""
    known = list(known)
    return f"{guess(word, known)} Known: {', '.join(known)}."


def guess(word: str, known: Iterable[str], *, most: int = 1, write: Callable[[str], str] = repr) -> str:
    """Return " Did you mean 'x'?", or ``most`` words that are near, as they are written; "" where none is."""
    near = get_close_matches(word, list(known), n=most, cutoff=0.5)
    return f" Did you mean {' or '.join(map(write, near))}?" if near else ""


def check_known(name: str, known: Iterable[str], kind: str) -> None:
    """Raise unless ``name`` is one of ``known``; say what was perhaps meant, and all names."""
    known = list(known)
    if name not in known:
        raise IsopruneError(f"Unknown {kind} {name!r}.{did_you_mean(name, known)}")


def pick(table: Mapping[str, T], name: str, kind: str) -> T:
    """Return the entry called ``name`` of a table of methods.

    Raises:
        IsopruneError: If there is none; see `check_known`.
    """
    check_known(name, table, kind)
    return table[name]
