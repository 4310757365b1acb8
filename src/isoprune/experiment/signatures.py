"""A choice in a config, checked against the chosen function: its signature is the schema."""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from isoprune.experiment.config import Choice, choice
from isoprune.experiment.network_names import saved_place
from isoprune.experiment.pins import PINS, module_named, pinned
from isoprune.experiment.step_types import TrainingConfig
from isoprune.experiment.validation import option, typed
from isoprune.types.errors import IsopruneError, did_you_mean
from isoprune.types.method import method_of

if TYPE_CHECKING:
    from isoprune.types import Task


@dataclass(frozen=True)
class MethodKind:
    """A folder of methods: its table, and the arguments that the pipeline supplies itself.

    ``extra`` are options that the pipeline understands on every method of the kind, ``nested`` the option
    of a method that is a choice of its kind, or a list of them. ``local`` are options that say where things
    lie on this machine: their defaults are no part of an experiment.
    """

    word: str
    module: str
    table: str
    supplied: frozenset[str]
    extra: Mapping[str, Any] = field(default_factory=dict)
    nested: Mapping[str, str] = field(default_factory=dict)
    local: frozenset[str] = frozenset()


def _methods(word: str, folder: str, *supplied: str, **more: Any) -> MethodKind:
    return MethodKind(word, f"isoprune.methods.{folder}", folder.upper(), frozenset(supplied), **more)


KINDS = {
    "data": MethodKind(
        "data set", "isoprune.data", "DATA_SETS", frozenset({"seed", "workers"}), local=frozenset({"root"})
    ),
    "model": MethodKind(
        "model", "isoprune.models", "MODELS", frozenset({"in_shape", "classes", "generator"})
    ),
    "criterion": _methods(
        "criterion", "criteria", "signals", "units", "generator", "keep", extra={"batches": int}
    ),
    "repair": _methods(
        "repair", "repairs", "pruned", "signals", "generator",
        extra={"batches": int}, nested={"chain": "steps"},
    ),
    "penalty": _methods("penalty", "penalties", "model", "plan", "graph", "choose"),
    "schedule": _methods(
        "schedule", "schedules", "epochs", nested={"warm_up": "schedule", "lr_rewinding": "schedule"}
    ),
    "cadence": _methods("cadence", "cadences", "rounds"),
    "check": _methods("check", "checks", "plan", "units", "pruned", "signals", "generator"),
    "measure": _methods("measure", "measures", "pruned", "signals", "generator"),
}  # fmt: skip

# With what `isoprune methods` shows besides: methods that are a word of a step, or a verb.
SHOWN = {
    **KINDS,
    "allocation": MethodKind(
        "allocation", "isoprune.pruning.erdos_renyi", "ALLOCATIONS",
        frozenset({"shapes", "sizes", "most", "total"}),
    ),
    "structure": MethodKind(
        "change of structure", "isoprune.verbs.eigendamage", "STRUCTURES",
        frozenset({"network", "example_inputs", "batches", "task", "loss", "output", "seed"}),
    ),
    "codec": _methods("codec", "codecs", "network", "path"),
}  # fmt: skip


def table(kind: str) -> Mapping[str, Callable[..., Any]]:
    """Return the folder's table of methods: name -> function."""
    return getattr(importlib.import_module(SHOWN[kind].module), SHOWN[kind].table)


def find(kind: str, name: str) -> Callable[..., Any]:
    """Return the function called ``name``: an entry of the folder's table, or ``"module:function"``.

    Raises:
        IsopruneError: If there is none, with the nearest name that there is.
    """
    if ":" in name:
        if kind != "model":
            return _outside(name)
        if saved_place(name) is not None:
            from isoprune.experiment.saved_models import saved_model

            return saved_model(name)
        from isoprune.experiment.foreign_models import LIBRARIES, network_maker

        return network_maker(name, None if name.partition(":")[0] in LIBRARIES else _outside(name))
    known = table(kind)
    if name not in known:
        raise unknown_method(kind, name, known)
    return known[name]


def unknown_method(kind: str, name: str, known: Iterable[str]) -> IsopruneError:
    """Return the error of a name that is none."""
    return IsopruneError(
        f"Unknown {KINDS[kind].word} {name!r}.{did_you_mean(name, known)} For your own, write "
        "'your_module:your_function'."
    )


def unknown_option(kind: str, method: str, name: str, known: Sequence[str], key: str) -> IsopruneError:
    """Return the error of an option that a method does not have; ``key`` is where a config has the method."""
    given = did_you_mean(name, known) if known else " It has no options."
    return IsopruneError(f"Unknown option {name!r} of {KINDS[kind].word} {method!r} ({key}).{given}")


def task_of(name: str) -> Task:
    """Return the task that a config names: "classification", or "module:object".

    Raises:
        IsopruneError: If that is no `isoprune.Task`.
    """
    from isoprune.types import CLASSIFICATION, Task

    if name == CLASSIFICATION.name:
        return CLASSIFICATION
    task = getattr(module_named(name), name.partition(":")[2], None) if ":" in name else None
    if not isinstance(task, Task):
        raise IsopruneError(
            f'task is {name!r}, which is no isoprune.Task. Write "classification", or "their_module:task".'
        )
    return task


def _outside(name: str) -> Callable[..., Any]:
    module, (module_name, _, function_name) = module_named(name), name.partition(":")
    function = getattr(module, function_name, None)
    if not callable(function):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise IsopruneError(
            f"{module_name!r} has no function {function_name!r}.{did_you_mean(function_name, public)}"
        )
    return function


def complete(kind: str, given: Choice, key: str) -> Choice:
    """Return ``given`` with every default of its function filled in, each option checked.

    Defaults that JSON cannot hold stay the function's own business. ``key`` names the choice in errors.

    Raises:
        IsopruneError: For an unknown or missing option, or one of the wrong type.
    """
    function, spec = find(kind, given.name), KINDS[kind]
    parameters = {
        name: p for name, p in inspect.signature(function).parameters.items() if name not in spec.supplied
    }
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {n: p for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    hints = _hints(function)
    options = pinned(kind, given, key)
    for name, value in given.options.items():
        if name in PINS:
            continue
        if name in spec.extra:
            options[name] = option(spec.extra[name], value, f"{key}.{name}")
        elif name in named and spec.nested.get(given.name) == name:
            options[name] = _nested(kind, value, hints.get(name, Any), key, name)
        elif name in named:
            options[name] = option(hints.get(name, Any), value, f"{key}.{name}")
        elif anything and name not in spec.supplied:
            options[name] = value
        else:
            raise unknown_option(kind, given.name, name, [*named, *spec.extra], key)
    for name, parameter in named.items():
        if name in options:
            continue
        if parameter.default is parameter.empty:
            raise IsopruneError(
                f"{key}: {spec.word} {given.name!r} needs the option {name!r}. "
                f'Write {key} = {{name = "{given.name}", {name} = ...}}.'
            )
        if name not in spec.local and _is_plain(parameter.default):
            # Read as an option, so that 1 and 1.0 for a float are one value and one digest.
            options[name] = option(hints.get(name, Any), parameter.default, f"{key}.{name}")
    return Choice(given.name, {name: options[name] for name in sorted(options)})


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(function))
    except Exception:  # An outsider's annotation that cannot be evaluated is no reason to refuse the method.
        return {}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(v) for v in value)
    return value is None or isinstance(value, str | bool | int | float)


def _nested(kind: str, value: Any, hint: Any, key: str, name: str) -> Any:
    """Return the choices within a choice, complete: a list where the function asks for a sequence."""
    if typing.get_origin(hint) is Sequence:
        parts = enumerate(option(list, value, f"{key}.{name}"))
        return [complete(kind, choice(v, f"{key}[{i}]"), f"{key}[{i}]").as_dict() for i, v in parts]
    if value is None:  # As a record's config says that it was left out.
        return None
    return complete(kind, choice(value, f"{key}.{name}"), f"{key}.{name}").as_dict()


def bind(kind: str, given: Choice) -> Callable[..., Any]:
    """Return the chosen function with its options filled in; ``batches`` is left to the pipeline."""
    function = find(kind, given.name)
    hints, options = _hints(function), {}
    for name, value in given.options.items():
        if name in PINS or name in KINDS[kind].extra:
            continue
        if KINDS[kind].nested.get(given.name) == name:
            inner = value if isinstance(value, list) else [value]
            bound = [v and bind(kind, choice(v, name)) for v in inner]
            options[name] = bound if isinstance(value, list) else bound[0]
            continue
        options[name] = typed(hints.get(name, Any), value, name)
    return functools.partial(function, **options)


def schedule(training: TrainingConfig) -> Callable[[float], float]:
    """Return the schedule of a training: progress in [0, 1] -> factor on its learning rate."""
    make = bind("schedule", training.schedule)
    takes_epochs = "epochs" in inspect.signature(find("schedule", training.schedule.name)).parameters
    return make(epochs=training.epochs) if takes_epochs else make()


def round_ratios(cadence: Choice, rounds: int) -> list[float]:
    """Return what goes in each of so many rounds, as ratios of what is still there when they begin."""
    gone = bind("cadence", cadence)(rounds=rounds)
    stays = [1.0, *(1 - gone(number) for number in range(1, rounds + 1))]
    return [1 - after / before for before, after in itertools.pairwise(stays)]


def takes_weights(model: Choice) -> bool:
    """Whether a model's option ``weights`` names the weights that it starts from, as it does for ours."""
    from isoprune.experiment.foreign_models import is_network_maker

    return model.name in table("model") or is_network_maker(find("model", model.name))


def label_of(kind: str, choice: Choice) -> str:
    """Return how tables call a method; "" if its name says it all."""
    return method_of(find(kind, choice.name)).label
