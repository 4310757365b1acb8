"""A choice in a config, checked against the chosen function: its signature is the schema."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isoprune.experiment import config
from isoprune.experiment.annotations import hints_of, is_plain, typed
from isoprune.experiment.config import Choice, Experiment, Training
from isoprune.experiment.replay import replayed
from isoprune.types.errors import IsopruneError, did_you_mean


@dataclass(frozen=True)
class Kind:
    """A folder of methods: its table, and the arguments that the pipeline supplies itself.

    ``extra`` are options that the pipeline understands on every method of the kind, ``nested`` the option
    of a method that is a choice of its kind, or a list of them. ``local`` are options that say where things
    lie on this machine: their defaults are no part of an experiment.
    """

    word: str
    module: str
    table: str
    supplied: frozenset[str]
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    nested: Mapping[str, str] = dataclasses.field(default_factory=dict)
    local: frozenset[str] = frozenset()


KINDS = {
    "data": Kind(
        "data set", "isoprune.data", "DATA_SETS", frozenset({"seed", "workers"}), local=frozenset({"root"})
    ),
    "model": Kind("model", "isoprune.models", "MODELS", frozenset({"in_shape", "classes", "generator"})),
    "criterion": Kind(
        "criterion",
        "isoprune.methods.criteria",
        "CRITERIA",
        frozenset({"signals", "units", "generator"}),
        {"batches": int},
    ),
    "repair": Kind(
        "repair",
        "isoprune.methods.repairs",
        "REPAIRS",
        frozenset({"pruned", "signals", "generator"}),
        {"batches": int},
        {"chain": "steps"},
    ),
    "penalty": Kind(
        "penalty", "isoprune.methods.penalties", "PENALTIES", frozenset({"model", "plan", "graph", "choose"})
    ),
    "schedule": Kind(
        "schedule",
        "isoprune.methods.schedules",
        "SCHEDULES",
        frozenset({"epochs"}),
        nested={"warm_up": "schedule", "lr_rewinding": "schedule"},
    ),
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
        if kind != "model":
            return _outside(name)
        from isoprune.experiment.foreign_models import LIBRARIES, opened

        return opened(name, None if name.partition(":")[0] in LIBRARIES else _outside(name))
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
    hints = hints_of(function)
    options: dict[str, Any] = {}
    for name, value in choice.options.items():
        if name in spec.extra:
            options[name] = typed(value, spec.extra[name], f"{key}.{name}")
        elif name in named and spec.nested.get(choice.name) == name:
            options[name] = _nested(kind, value, hints.get(name, Any), key, name)
        elif name in named:
            options[name] = typed(value, hints.get(name, Any), f"{key}.{name}")
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
        if name not in spec.local and is_plain(parameter.default):
            # Through typed, so that 1 and 1.0 for a float are one value and one digest.
            options[name] = typed(parameter.default, hints.get(name, Any), f"{key}.{name}")
    return Choice(choice.name, {name: options[name] for name in sorted(options)})


def _nested(kind: str, value: Any, hint: Any, key: str, name: str) -> Any:
    """Return the choices within a choice, complete: a list where the function asks for a sequence."""
    if typing.get_origin(hint) is Sequence:
        parts = enumerate(typed(value, list, f"{key}.{name}"))
        return [complete(kind, config.choice(v, f"{key}[{i}]"), f"{key}[{i}]").as_dict() for i, v in parts]
    if value is None:  # As a record's config says that it was left out.
        return None
    return complete(kind, config.choice(value, f"{key}.{name}"), f"{key}.{name}").as_dict()


def bind(kind: str, choice: Choice) -> Callable[..., Any]:
    """Return the chosen function with its options filled in; ``batches`` is left to the pipeline."""
    function, hints = find(kind, choice.name), None
    options = {}
    for name, value in choice.options.items():
        if name in KINDS[kind].extra:
            continue
        if KINDS[kind].nested.get(choice.name) == name:
            inner = value if isinstance(value, list) else [value]
            bound = [v and bind(kind, config.choice(v, name)) for v in inner]
            options[name] = bound if isinstance(value, list) else bound[0]
            continue
        hints = hints_of(function) if hints is None else hints
        # JSON has lists and strings only; a function that says tuple or Path gets one.
        wanted = str(hints.get(name, ""))
        if isinstance(value, list) and "tuple" in wanted:
            value = tuple(value)
        elif isinstance(value, str) and "Path" in wanted:
            value = Path(value).expanduser()
        options[name] = value
    return functools.partial(function, **options)


def schedule(training: Training) -> Callable[[float], float]:
    """Return the schedule of a training: progress in [0, 1] -> factor on its learning rate."""
    make = bind("schedule", training.schedule)
    takes_epochs = "epochs" in inspect.signature(find("schedule", training.schedule.name)).parameters
    return make(epochs=training.epochs) if takes_epochs else make()


def takes_weights(model: Choice) -> bool:
    """Whether a model's option ``weights`` means what it means for ours: what the network starts from."""
    from isoprune.experiment.foreign_models import is_opened

    return model.name in table("model") or is_opened(find("model", model.name))


def _pinned(model: Choice) -> Choice:
    """Return a model that names the content of the file of weights it starts from, not its path alone."""
    from isoprune.models.weights import pin

    weights = model.options.get("weights")
    if weights is None or not takes_weights(model):
        return model
    return Choice(model.name, {**model.options, "weights": pin(weights)})


def _fitting(penalty: Choice, key: str) -> Choice:
    """Return a penalty that fits its training.

    Raises:
        IsopruneError: If it pushes channels out and nothing is pruned afterwards, or the other way round.
    """
    from isoprune.methods.penalties import PENALTIES, PRUNING

    if penalty.name in PENALTIES and (penalty.name in PRUNING) != (key == "prune.train"):
        known = [name for name in PENALTIES if (name in PRUNING) == (key == "prune.train")]
        does = "pushes channels out" if penalty.name in PRUNING else "pushes no channel out"
        raise IsopruneError(
            f"{key}.penalty = {penalty.name!r} {does}. Write it under "
            f"[{'prune.train' if penalty.name in PRUNING else 'retrain'}], or take one of: "
            f"{', '.join(known)}."
        )
    return penalty


def resolve(experiment: Experiment) -> Experiment:
    """Return the experiment with every choice found, checked and complete; imports torch.

    Raises:
        IsopruneError: For an unknown method or option, a wrong type, or options that do not fit together.
    """

    from isoprune.training.tracking import check_trackers

    def trained(training: Training, key: str) -> Training:
        if not training.epochs:
            return training
        done = dataclasses.replace(
            training, schedule=complete("schedule", training.schedule, f"{key}.schedule")
        )
        schedule(done)  # The factory judges its options now, not after an hour of training.
        check_trackers(training.trackers)
        if done.penalty is None:
            return done
        return dataclasses.replace(
            done, penalty=_fitting(complete("penalty", done.penalty, f"{key}.penalty"), key)
        )

    prune, retrain = experiment.prune, experiment.retrain
    if retrain.epochs:
        retrain = dataclasses.replace(retrain, schedule=replayed(experiment))
    return dataclasses.replace(
        experiment,
        data=complete("data", experiment.data, "data"),
        model=_pinned(complete("model", experiment.model, "model")),
        dense=trained(experiment.dense, "dense"),
        prune=dataclasses.replace(
            prune,
            criterion=complete("criterion", prune.criterion, "prune.criterion"),
            train=prune.train and trained(prune.train, "prune.train"),
        ),
        repair=complete("repair", experiment.repair, "repair"),
        retrain=trained(retrain, "retrain"),
    )
