"""What an experiment is: frozen data, read strictly from TOML (or from a record's config).

Every key is checked here, before torch is imported and long before a network is trained: its name,
its type, its range. Whether a method exists and knows its options is checked by `choice`, against
the method's own signature.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from isoprune.experiment.choice import Choice, chain, choice
from isoprune.experiment.readers import Reader, by, flag, got, number, one_of, optional, whole, words
from isoprune.types.errors import IsopruneError, did_you_mean


def _new(read: Reader) -> dict[str, Any]:
    """Return the metadata of a key that older configs do not have: at its default it is not written."""
    return {**by(read), "told_if_changed": True}


@dataclass(frozen=True)
class Distilling:
    """How much of the loss comes from the dense network's outputs, and at which temperature."""

    weight: float = field(metadata=by(number(0.0, 1.0, closed=True)))
    temperature: float = field(metadata=by(number(0.0, above=True)))


def _distilling(value: Any, key: str) -> Distilling:
    return _read(Distilling, value, key)


AUTO = "auto"


def _rate(value: Any, key: str) -> float | str:
    if isinstance(value, str) and value != AUTO:
        raise IsopruneError(f'{key} is {value!r}. Give a number, or "{AUTO}": short trainings find it.')
    return value if value == AUTO else number(0.0, above=True)(value, key)


@dataclass(frozen=True)
class Training:
    """How a network is trained: SGD with momentum, as the paper's code.

    ``lr`` "auto" is the rate that `training.advise` finds for this network and budget.

    ``steps`` ends it after so many of them, to which the schedule then runs; none: after ``epochs``.
    ``jsv_samples`` is the number of fixed samples of the mean JSV after each epoch; 0: not measured.
    ``precision`` to ``average`` are those of `training.Loop`; ``distill`` is for retraining: to learn from
    the dense network; ``penalty`` is added to the loss. The last three change no result and no digest.
    """

    epochs: int = field(metadata=by(whole(0)))
    lr: float | str | None = field(default=None, metadata=by(optional(_rate)))
    schedule: Choice = field(default=Choice("constant"), metadata=by(choice))
    steps: int | None = field(default=None, metadata=by(optional(whole(1))))
    batch: int = field(default=100, metadata=by(whole(1)))
    momentum: float = field(default=0.9, metadata=by(number(0.0, 1.0)))
    weight_decay: float = field(default=1e-4, metadata=by(number(0.0)))
    jsv_samples: int = field(default=64, metadata=by(whole(0)))
    precision: str = field(default="full", metadata=_new(one_of("full", "bf16")))
    accumulate: int = field(default=1, metadata=_new(whole(1)))
    channels_last: bool = field(default=False, metadata=_new(flag))
    compile: bool = field(default=False, metadata=_new(flag))
    clip: float | None = field(default=None, metadata=_new(optional(number(0.0, above=True))))
    sync_batchnorm: bool = field(default=False, metadata=_new(flag))
    nesterov: bool = field(default=False, metadata=_new(flag))
    label_smoothing: float = field(default=0.0, metadata=_new(number(0.0, 1.0)))
    average: float = field(default=0.0, metadata=_new(number(0.0, 1.0)))
    distill: Distilling | None = field(default=None, metadata=_new(optional(_distilling)))
    penalty: Choice | None = field(default=None, metadata=_new(optional(choice)))
    trackers: tuple[str, ...] = field(default=(), metadata=_new(words))
    checkpoint_steps: int | None = field(default=None, metadata=_new(optional(whole(1))))
    checkpoint_seconds: float = field(default=60.0, metadata=_new(number(0.0)))


def _ratio(value: Any, key: str) -> float | dict[str, float]:
    """Read a ratio, or a table of name patterns and theirs."""
    one = number(0.0, 1.0)
    if not isinstance(value, Mapping):
        return one(value, key)
    return {str(pattern): one(v, f"{key}.{pattern}") for pattern, v in value.items()}


def _training(value: Any, key: str) -> Training:
    return _read(Training, value, key)


@dataclass(frozen=True)
class Pruning:
    """What goes: by which scores, and how much of it.

    One of ``ratio``, the fraction of each group's channels that goes (or patterns of their names ->
    fractions, as `make_plan`), and ``flops`` and ``parameters``, the fraction that may stay. ``scope``
    "internal" leaves residual sums whole; ``allocation`` "global" lets all channels compete, and no group
    then loses more than ``cap``; ``floor`` channels stay at least; kept channels are rounded up to a multiple
    of ``round_to``.

    ``train`` trains the network before anything goes: with a penalty that pushes out the channels that the
    dense network's scores choose, or without one, and then the trained network's scores choose.
    """

    ratio: float | Mapping[str, float] | None = field(default=None, metadata=by(optional(_ratio)))
    criterion: Choice = field(default=Choice("l1_norm"), metadata=by(choice))
    scope: str = field(default="all", metadata=by(one_of("all", "internal")))
    allocation: str = field(default="uniform", metadata=by(one_of("uniform", "global")))
    round_to: int = field(default=1, metadata=by(whole(1)))
    flops: float | None = field(
        default=None, metadata=_new(optional(number(0.0, 1.0, above=True, closed=True)))
    )
    parameters: float | None = field(
        default=None, metadata=_new(optional(number(0.0, 1.0, above=True, closed=True)))
    )
    floor: int = field(default=1, metadata=_new(whole(1)))
    cap: float = field(default=0.9, metadata=_new(number(0.0, 1.0)))
    train: Training | None = field(default=None, metadata=_new(optional(_training)))


@dataclass(frozen=True)
class Measuring:
    """How finely each stage is measured: samples of the JSV, bins of their histogram."""

    samples: int = field(default=64, metadata=by(whole(1)))
    bins: int = field(default=40, metadata=by(whole(1)))


@dataclass(frozen=True)
class Experiment:
    """One way from data to a retrained network; equal experiments give equal bits.

    ``rewind`` gives the pruned network the weights that the dense one had after that epoch; a repair comes
    after it.
    """

    data: Choice = field(metadata=by(choice))
    model: Choice = field(metadata=by(choice))
    dense: Training = field(metadata=by(Training))
    prune: Pruning = field(metadata=by(Pruning))
    retrain: Training = field(metadata=by(Training))
    repair: Choice = field(default=Choice("none"), metadata=by(chain))
    seed: int = field(default=0, metadata=by(whole(0)))
    measure: Measuring = field(default=Measuring(), metadata=by(Measuring))
    rewind: int | None = field(default=None, metadata=_new(optional(whole(0))))

    def as_dict(self) -> dict[str, Any]:
        """Return the record's ``config``: plain JSON, read back by `experiment`."""
        return _as_dict(self)


CHOICES = (
    "data", "model", "repair", "prune.criterion", "dense.schedule", "retrain.schedule",
    "dense.penalty", "retrain.penalty", "prune.train.penalty",
)  # fmt: skip


def trainings(made: Experiment) -> dict[str, Training]:
    """Return the trainings of an experiment, in their order, by the keys of a config."""
    found = {"dense": made.dense, "prune.train": made.prune.train, "retrain": made.retrain}
    return {key: training for key, training in found.items() if training is not None}


def _as_dict(value: Any) -> Any:
    if isinstance(value, Choice):
        return value.as_dict()
    if isinstance(value, Training) and value.epochs == 0:
        return {"epochs": 0}  # What no step will read must not change the digest.
    if is_dataclass(value):
        told = {f.name: getattr(value, f.name) for f in fields(value)}
        new = {f.name: f.default for f in fields(value) if f.metadata.get("told_if_changed")}
        quiet = {name for name, default in new.items() if told[name] == default}
        return {name: _as_dict(v) for name, v in told.items() if name not in quiet}
    return list(value) if isinstance(value, tuple) else value


def known_keys(cls: type = Experiment, prefix: str = "") -> list[str]:
    """Return every dotted key that a file may hold (without the options of the choices)."""
    keys = []
    for f in fields(cls):
        read = f.metadata["read"]
        keys += known_keys(read, f"{prefix}{f.name}.") if isinstance(read, type) else [prefix + f.name]
    return keys


def _read(cls: type, table: Any, where: str) -> Any:
    if not isinstance(table, Mapping):
        raise IsopruneError(
            f"{where} must be a table of keys, not {got(table)}. Write [{where}] and its keys below."
        )
    prefix = f"{where}." if where else ""
    names = {f.name: f for f in fields(cls)}
    for name in table:
        if name not in names:
            # The whole list, so that a key in the wrong section finds its own.
            raise IsopruneError(f"Unknown key {prefix + name!r}.{did_you_mean(prefix + name, known_keys())}")
    values = {}
    for name, f in names.items():
        read, key = f.metadata["read"], prefix + name
        if name in table:
            values[name] = _read(read, table[name], key) if isinstance(read, type) else read(table[name], key)
        elif f.default is MISSING:
            raise IsopruneError(
                f"Missing key {key!r}. Add it: nothing is assumed where a result depends on it."
            )
    return cls(**values)


def experiment(table: Mapping[str, Any]) -> Experiment:
    """Return the experiment that a table (a TOML file's, a record's config) describes.

    Raises:
        IsopruneError: For an unknown or missing key, a wrong type, a number out of range.
    """
    made = _read(Experiment, table, "")
    targets = {"ratio": made.prune.ratio, "flops": made.prune.flops, "parameters": made.prune.parameters}
    given = [f"prune.{name}" for name, value in targets.items() if value is not None]
    if not given:
        raise IsopruneError(
            "Missing key 'prune.ratio'. Add it, or prune.flops or prune.parameters: nothing is assumed where "
            "a result depends on it."
        )
    if len(given) > 1:
        raise IsopruneError(f"{' and '.join(given)} do not go together. Give one of them.")
    for name, training in trainings(made).items():
        if training.epochs and training.lr is None:
            raise IsopruneError(
                f"Missing key '{name}.lr': {training.epochs} epochs need a learning rate. Add {name}.lr."
            )
        if training.nesterov and not training.momentum:
            raise IsopruneError(
                f"{name}.nesterov needs {name}.momentum, which is 0. Raise it, or leave it out."
            )
    if made.rewind is not None and made.rewind > made.dense.epochs:
        raise IsopruneError(
            f"rewind is {made.rewind}, but the dense network is trained for {made.dense.epochs} epochs. "
            f"Give an epoch from 0 to {made.dense.epochs}."
        )
    if made.prune.train is not None and not made.prune.train.epochs:
        raise IsopruneError(
            "prune.train.epochs is 0: nothing is trained. Raise it, or leave [prune.train] out."
        )
    for name, training in trainings(made).items():
        if training.distill is not None and name != "retrain":
            raise IsopruneError(
                f"{name}.distill: there is no network yet to learn from. Write it under [retrain], or leave "
                "it out."
            )
        if training.lr == AUTO and (training.penalty is not None or name == "prune.train"):
            raise IsopruneError(
                f'{name}.lr is "{AUTO}", but short trainings tell nothing of one whose penalty grows. Give a '
                "number."
            )
    return made


def read_toml(path: Path) -> dict[str, Any]:
    """Return a TOML file's table; errors name the file and the line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise IsopruneError(
            f"No file {path}. Give the path of a TOML file, for example studies/lr_effect.toml."
        ) from None
    except IsADirectoryError:
        raise IsopruneError(f"{path} is a directory. Give the path of a TOML file.") from None
    except UnicodeDecodeError as error:
        raise IsopruneError(f"{path} is not UTF-8 text ({error.reason}). Give a TOML file.") from None
    except tomllib.TOMLDecodeError as error:
        raise IsopruneError(f"{path} is not valid TOML: {error}.") from None
