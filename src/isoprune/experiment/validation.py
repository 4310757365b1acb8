"""Checks values against types, by msgspec; an error is one line: the key, its value, what is allowed."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from isoprune.experiment.choice import Choice
from isoprune.types.errors import IsopruneError, did_you_mean

T = TypeVar("T")

FINITE = sys.float_info.max  # msgspec has no infinite bound

_PATH = re.compile(r" - at `(?:key in )?\$(.*)`$")
_WORDS: dict[type, str] = {
    inspect.IntType: "a whole number",
    inspect.FloatType: "a number",
    inspect.StrType: "a string",
    inspect.BoolType: "true or false",
    inspect.NoneType: "left out",
}


def read(kind: type[T] | Any, value: Any, key: str = "") -> T:
    """Return ``value`` as a ``kind``: a struct, or an annotated type.

    Raises:
        IsopruneError: If it is none, with its dotted key below ``key``.
    """
    try:
        return msgspec.convert(value, kind, dec_hook=_decoded)
    except msgspec.ValidationError as error:
        raise IsopruneError(_explained(error, kind, value, key)) from None


def option(hint: Any, value: Any, key: str) -> Any:
    """Return a method's option, checked against its annotation, as plain JSON."""
    return plain(typed(hint, value, key))


def typed(hint: Any, value: Any, key: str) -> Any:
    """Return a value of a config as its annotation says: a tuple for a list, a path for a string.

    What msgspec does not know passes as it is: the function itself judges.

    Raises:
        IsopruneError: If it is of another type.
    """
    try:
        made = msgspec.convert(value, hint, dec_hook=_decoded)
    except TypeError:  # No type that msgspec knows.
        return value
    except msgspec.ValidationError as error:
        if any(isinstance(one, inspect.CustomType) and one.cls is not Path for one in _members(hint)):
            return value
        raise IsopruneError(_explained(error, hint, value, key)) from None
    return made


def plain(value: Any) -> Any:
    """Return structs, choices and tuples as plain JSON."""
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=_encoded))


def _encoded(value: Any) -> Any:
    return value.as_dict() if isinstance(value, Choice) else str(value)


def keys_of(kind: Any, prefix: str = "") -> list[str]:
    """Return every dotted key of a struct, without the options of choices and the steps of recipes."""
    keys = []
    for field in _struct(kind).fields:
        one, *others = _members(field.type)
        deeper = isinstance(one, inspect.StructType) and not others
        keys += keys_of(one, f"{prefix}{field.name}.") if deeper else [prefix + field.name]
    return keys


def _decoded(kind: type, value: Any) -> Any:
    if issubclass(kind, Choice):
        made = kind.read(value)
        return made if isinstance(made, kind) else kind(made.name, made.options)
    return Path(value).expanduser() if kind is Path and isinstance(value, str) else value


def _struct(kind: Any) -> inspect.StructType:
    info = kind if isinstance(kind, inspect.Type) else inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return info


def _members(kind: Any) -> list[inspect.Type]:
    """Return the types that a union allows; of another type itself."""
    info = kind if isinstance(kind, inspect.Type) else inspect.type_info(kind)
    if isinstance(info, inspect.Metadata):
        return _members(info.type)
    return [m for one in info.types for m in _members(one)] if isinstance(info, inspect.UnionType) else [info]


def _explained(error: msgspec.ValidationError, kind: Any, value: Any, key: str) -> str:
    """Return what is wrong; of msgspec's own message only the path is read."""
    found = _PATH.search(str(error))
    info, top = inspect.type_info(kind), kind
    for name, index in re.findall(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]", found[1] if found else ""):
        members = _members(info)
        if name:
            struct = _of_kind(members, value)
            if struct.tag_field == name:
                return _tag(members, value, name, key)
            field = next(f for f in struct.fields if f.name == name)
            info, value, key = field.type, value[name], f"{key}.{name}".lstrip(".")
        elif index == "...":
            table = next(m for m in members if isinstance(m, inspect.DictType))
            name, value = next((k, v) for k, v in value.items() if not _in_range(v, table.value_type))
            info, key = table.value_type, f"{key}.{name}"
        else:
            many = next(m for m in members if hasattr(m, "item_type") or hasattr(m, "item_types"))
            place = int(index)
            info = getattr(many, "item_type", None) or many.item_types[place]  # pyright: ignore[reportAttributeAccessIssue]
            value, key = value[place], f"{key}[{place}]"
    if isinstance(error.__cause__, IsopruneError):
        return f"{key}{error.__cause__}"
    return _wrong(info, value, key, top)


def _in_range(value: Any, info: inspect.Type) -> bool:
    return any(
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and isinstance(one, inspect.FloatType)
        and _inside(one, value)
        for one in _members(info)
    )


def _inside(one: inspect.FloatType | inspect.IntType, value: float) -> bool:
    return (
        (one.ge is None or value >= one.ge)
        and (one.gt is None or value > one.gt)
        and (one.le is None or value <= one.le)
        and (one.lt is None or value < one.lt)
    )


def _of_kind(members: Sequence[inspect.Type], value: Any) -> inspect.StructType:
    """Return the struct of a (tagged) union that a table says it is."""
    structs = [m for m in members if isinstance(m, inspect.StructType)]
    return next((s for s in structs if s.tag_field and value.get(s.tag_field) == s.tag), structs[0])


def _tag(members: Sequence[inspect.Type], value: Mapping[str, Any], name: str, key: str) -> str:
    tags = [str(m.tag) for m in members if isinstance(m, inspect.StructType)]
    came = str(value[name])
    return f"{key}.{name} is {came!r}.{did_you_mean(came, tags)}"


def _wrong(info: inspect.Type, value: Any, key: str, top: Any) -> str:
    members = _members(info)
    structs = [m for m in members if isinstance(m, inspect.StructType)]
    came = f"{value!r} ({type(value).__name__})"
    if structs and isinstance(value, Mapping):
        return _wrong_keys(structs, value, key, top)
    if structs:
        return f"{key} must be a table of keys, not {came}. Write [{key}] and its keys below."
    if isinstance(value, int | float) and not isinstance(value, bool):
        for one in members:
            if isinstance(one, inspect.IntType) and isinstance(value, int):
                least = one.ge if one.ge is not None else one.gt
                if one.le is not None and value > one.le:
                    return f"{key} is {value}, but must be at most {one.le}."
                return f"{key} is {value}, but must be at least {least}."
            if isinstance(one, inspect.FloatType):
                return f"{key} is {value:g}, outside {_interval(one)}.{_hint(info)}"
    literals = [str(v) for m in members if isinstance(m, inspect.LiteralType) for v in m.values]
    if literals and all(isinstance(m, inspect.LiteralType) for m in members):
        guess = did_you_mean(value, literals) if isinstance(value, str) else f" Known: {', '.join(literals)}."
        return f"{key} is {came}.{guess}"
    return f"{key} must be {' or '.join(_spelled(m) for m in members)}, not {came}."


def _wrong_keys(structs: Sequence[inspect.StructType], value: Mapping[str, Any], key: str, top: Any) -> str:
    struct, prefix = _of_kind(structs, value), f"{key}." if key else ""
    if struct.tag_field is not None and struct.tag_field not in value:
        tags = ", ".join(str(one.tag) for one in structs)
        return f"{key} has no {struct.tag_field}. Add one of: {tags}."
    names = [field.name for field in struct.fields]
    for name in value:
        if name not in names and name != struct.tag_field:
            # The whole list, so that a key in the wrong section finds its own.
            known = [prefix + n for n in names]
            if isinstance(top, type) and issubclass(top, msgspec.Struct) and struct.tag_field is None:
                known = [*keys_of(top), *(k for k in known if k not in keys_of(top))]
            return f"Unknown key {prefix + name!r}.{did_you_mean(prefix + name, known)}"
    missing = next(f.name for f in struct.fields if f.required and f.name not in value)
    return f"Missing key {prefix + missing!r}. Add it: nothing is assumed where a result depends on it."


def _hint(info: inspect.Type) -> str:
    """Return the sentence that a type carries, ``Meta(extra={"hint": ...})``."""
    if isinstance(info, inspect.Metadata):
        return f" {(info.extra or {}).get('hint', '')}".rstrip()
    if isinstance(info, inspect.UnionType):
        return next((hint for one in info.types if (hint := _hint(one))), "")
    return ""


def _interval(one: inspect.FloatType) -> str:
    low, high = one.ge if one.gt is None else one.gt, one.le if one.lt is None else one.lt
    closed = one.lt is None and high != FINITE
    left, right = "(" if one.gt is not None else "[", "]" if closed else ")"
    return f"{left}{low:g}, {'inf' if high in (None, FINITE) else f'{high:g}'}{right}"


def _spelled(one: inspect.Type) -> str:
    if isinstance(one, inspect.LiteralType):
        return " or ".join(repr(v) for v in one.values)
    if isinstance(one, inspect.ListType | inspect.VarTupleType | inspect.CollectionType):
        inner = " or ".join(_spelled(m) for m in _members(one.item_type))
        return f"a list of {inner}"
    if isinstance(one, inspect.CustomType):
        return "a path" if one.cls is Path else "a method's name"
    return _WORDS.get(type(one), "a table" if isinstance(one, inspect.DictType) else "a list")
