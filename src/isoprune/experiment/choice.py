"""A choice in a config, checked against the chosen function: its signature is the schema."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isoprune.errors import IsopruneError, did_you_mean
from isoprune.experiment import config
from isoprune.experiment.config import Choice, Experiment, Training


@dataclass(frozen=True)
class Kind:
    """A folder of methods: its table, and the arguments that the pipeline supplies itself.

    ``extra`` are options that the pipeline understands on every method of the kind, ``nested`` the option
    of a method that is a list of choices of the same kind.
    """

    word: str
    module: str
    table: str
    supplied: frozenset[str]
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    nested: Mapping[str, str] = dataclasses.field(default_factory=dict)


KINDS = {
    "data": Kind("data set", "isoprune.data", "DATA_SETS", frozenset({"root", "seed"})),
    "model": Kind("model", "isoprune.models", "MODELS", frozenset({"in_shape", "classes", "generator"})),
    "criterion": Kind(
        "criterion",
        "isoprune.criteria",
        "CRITERIA",
        frozenset({"model", "graph", "batches", "generator"}),
        {"batches": int},
    ),
    "repair": Kind(
        "repair",
        "isoprune.repairs",
        "REPAIRS",
        frozenset({"pruned", "dense", "plan", "batches", "generator"}),
        {"batches": int},
        {"chain": "steps"},
    ),
    "schedule": Kind("schedule", "isoprune.schedules", "SCHEDULES", frozenset({"epochs"})),
}


def table(kind: str) -> Mapping[str, Callable[..., Any]]:
    """Return the folder's table of methods: name -> function."""
    return getattr(importlib.import_module(KINDS[kind].module), KINDS[kind].table)


def find(kind: str, name: str) -> Callable[..., Any]:
    """Return the function called ``name``: an entry of the folder's table, or ``"module:function"``.

    Raises:
        IsopruneError: If there is none, with the nearest name that there is.
    """
    if ":" in name:
        return _outside(name)
    known = table(kind)
    if name not in known:
        raise IsopruneError(
            f"Unknown {KINDS[kind].word} {name!r}.{did_you_mean(name, known)} For your own, write "
            "'your_module:your_function'."
        )
    return known[name]


def _outside(name: str) -> Callable[..., Any]:
    module_name, _, function_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise IsopruneError(
            f"Cannot import {module_name!r} of {name!r}: {type(error).__name__}: {error}. "
            "Start isoprune where the module can be imported, or install it."
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise IsopruneError(
            f"{module_name!r} has no function {function_name!r}.{did_you_mean(function_name, public)}"
        )
    return function


def complete(kind: str, choice: Choice, key: str) -> Choice:
    """Return ``choice`` with every default of its function filled in, each option checked.

    Defaults that JSON cannot hold stay the function's own business. ``key`` names the choice in errors.

    Raises:
        IsopruneError: For an unknown or missing option, or one of the wrong type.
    """
    function, spec = find(kind, choice.name), KINDS[kind]
    parameters = {
        name: p for name, p in inspect.signature(function).parameters.items() if name not in spec.supplied
    }
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    hints = _hints(function)
    options: dict[str, Any] = {}
    for name, value in choice.options.items():
        if name in spec.extra:
            options[name] = _typed(value, spec.extra[name], f"{key}.{name}")
        elif name in named and spec.nested.get(choice.name) == name:
            parts = enumerate(_typed(value, list, f"{key}.{name}"))
            steps = [complete(kind, config.choice(v, f"{key}[{i}]"), f"{key}[{i}]") for i, v in parts]
            options[name] = [step.as_dict() for step in steps]
        elif name in named:
            options[name] = _typed(value, hints.get(name, Any), f"{key}.{name}")
        elif anything and name not in spec.supplied:
            options[name] = value
        else:
            known = [*named, *spec.extra]
            given = did_you_mean(name, known) if known else " It has no options."
            raise IsopruneError(f"Unknown option {name!r} of {spec.word} {choice.name!r} ({key}).{given}")
    for name, parameter in named.items():
        if name in options:
            continue
        if parameter.default is parameter.empty:
            raise IsopruneError(
                f"{key}: {spec.word} {choice.name!r} needs the option {name!r}. "
                f'Write {key} = {{name = "{choice.name}", {name} = ...}}.'
            )
        if _is_plain(parameter.default):
            # Through _typed, so that 1 and 1.0 for a float are one value and one digest.
            options[name] = _typed(parameter.default, hints.get(name, Any), f"{key}.{name}")
    return Choice(choice.name, {name: options[name] for name in sorted(options)})


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(function))
    except Exception:  # An outsider's annotation that cannot be evaluated is no reason to refuse the method.
        return {}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(v) for v in value)
    return value is None or isinstance(value, str | bool | int | float)


def _typed(value: Any, hint: Any, key: str) -> Any:
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
        type(None): "left out",
    }
    return words.get(hint, str(hint))


def bind(kind: str, choice: Choice) -> Callable[..., Any]:
    """Return the chosen function with its options filled in; ``batches`` is left to the pipeline."""
    function, hints = find(kind, choice.name), None
    options = {}
    for name, value in choice.options.items():
        if name in KINDS[kind].extra:
            continue
        if KINDS[kind].nested.get(choice.name) == name:
            options[name] = [bind(kind, config.choice(v, name)) for v in value]
            continue
        hints = _hints(function) if hints is None else hints
        # JSON has lists only; a function that says tuple gets a tuple.
        wants_tuple = isinstance(value, list) and "tuple" in str(hints.get(name, ""))
        options[name] = tuple(value) if wants_tuple else value
    return functools.partial(function, **options)


def schedule(training: Training) -> Callable[[float], float]:
    """Return the schedule of a training: progress in [0, 1] -> factor on its learning rate."""
    make = bind("schedule", training.schedule)
    takes_epochs = "epochs" in inspect.signature(find("schedule", training.schedule.name)).parameters
    return make(epochs=training.epochs) if takes_epochs else make()


def resolve(experiment: Experiment) -> Experiment:
    """Return the experiment with every choice found, checked and complete; imports torch.

    Raises:
        IsopruneError: For an unknown method or option, a wrong type, or options that do not fit together.
    """

    def trained(training: Training, key: str) -> Training:
        if not training.epochs:
            return training
        done = dataclasses.replace(
            training, schedule=complete("schedule", training.schedule, f"{key}.schedule")
        )
        schedule(done)  # The factory judges its options now, not after an hour of training.
        return done

    prune = experiment.prune
    return dataclasses.replace(
        experiment,
        data=complete("data", experiment.data, "data"),
        model=complete("model", experiment.model, "model"),
        dense=trained(experiment.dense, "dense"),
        prune=dataclasses.replace(prune, criterion=complete("criterion", prune.criterion, "prune.criterion")),
        repair=complete("repair", experiment.repair, "repair"),
        retrain=trained(experiment.retrain, "retrain"),
    )
