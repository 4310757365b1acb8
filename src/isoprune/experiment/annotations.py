"""A value of a config against a function's annotation."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from isoprune.types.errors import IsopruneError


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(function))
    except Exception:  # An outsider's annotation that cannot be evaluated is no reason to refuse the method.
        return {}


def is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(is_plain(v) for v in value)
    return value is None or isinstance(value, str | bool | int | float)


def typed(value: Any, hint: Any, key: str) -> Any:
    """Return ``value`` as JSON of the annotated type, or raise."""
    ok, converted = _fits(value, hint)
    if not ok:
        raise IsopruneError(f"{key} must be {_spell(hint)}, not {value!r} ({type(value).__name__}).")
    return converted


def _fits(value: Any, hint: Any) -> tuple[bool, Any]:
    """Return whether a TOML value is of the annotated type, and the value in that type's form."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        # An exact match first: for int | float, 1 stays 1.
        tried = sorted(
            (_fits(value, a) for a in arguments), key=lambda t: not (t[0] and type(t[1]) is type(value))
        )
        return next((t for t in tried if t[0]), (False, value))
    if origin is typing.Literal:
        return value in arguments, value
    if hint is type(None):
        return value is None, value
    if hint is float:
        ok = isinstance(value, int | float) and not isinstance(value, bool)
        return ok, float(value) if ok else value
    if hint is Path:
        return isinstance(value, str), value
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    if hint in (str, bool):
        return isinstance(value, hint), value
    if (origin or hint) in (list, tuple, Sequence, Iterable):
        if not isinstance(value, list | tuple):
            return False, value
        item = next((a for a in arguments if a is not Ellipsis), Any)
        fitted = [_fits(v, item) for v in value]
        return all(ok for ok, _ in fitted), [v for _, v in fitted]
    if (origin or hint) in (dict, Mapping):
        return isinstance(value, Mapping), value
    return True, value  # An annotation that this check does not know: the function itself judges.


def _spell(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_spell(a) for a in arguments)
    if origin is typing.Literal:
        return " or ".join(repr(a) for a in arguments)
    if origin is not None:
        return (
            f"a list of {_spell(arguments[0])}"
            if origin in (list, tuple, Sequence) and arguments
            else "a list"
        )
    words = {
        float: "a number",
        int: "a whole number",
        str: "a string",
        bool: "true or false",
        Path: "a path",
        type(None): "left out",
    }
    return words.get(hint, str(hint))
