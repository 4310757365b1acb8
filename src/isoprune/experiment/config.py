"""What an experiment is: frozen data, read strictly from TOML (or from a record's config).

Every key is checked here, before torch is imported and long before a network is trained: its name,
its type, its range. Whether a method exists and knows its options is checked by `choice`, against
the method's own signature.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from isoprune.errors import IsopruneError, did_you_mean

Reader = Callable[[Any, str], Any]  # (value, dotted key) -> checked value


def _got(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"


def whole(least: int) -> Reader:
    """Return a reader of whole numbers >= ``least``; true and 3.0 are not whole numbers here."""

    def read(value: Any, key: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise IsopruneError(
                f"{key} must be a whole number, not {_got(value)}. Write for example {key} = {least}."
            )
        if value < least:
            raise IsopruneError(f"{key} is {value}, but must be at least {least}.")
        return value

    return read


def number(low: float, high: float = math.inf, *, above: bool = False) -> Reader:
    """Return a reader of finite numbers in [low, high), or in (low, high) if ``above``."""
    interval = f"{'(' if above else '['}{low:g}, {high:g})"

    def read(value: Any, key: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise IsopruneError(f"{key} must be a number, not {_got(value)}. Write for example {key} = 0.1.")
        inside = (low < value if above else low <= value) and value < high
        if not inside or not math.isfinite(value):
            hint = " It is the fraction that is removed: 0.8 keeps a fifth." if key.endswith("ratio") else ""
            raise IsopruneError(f"{key} is {value:g}, outside {interval}.{hint}")
        return float(value)

    return read


def optional(read: Reader) -> Reader:
    """Return a reader that also takes the null of a record's config: the key was not given."""
    return lambda value, key: None if value is None else read(value, key)


def one_of(*words: str) -> Reader:
    """Return a reader of one of a few words."""

    def read(value: Any, key: str) -> str:
        if value not in words:
            known = ", ".join(words)
            guess = did_you_mean(value, words) if isinstance(value, str) else f" Known: {known}."
            raise IsopruneError(f"{key} is {_got(value)}.{guess}")
        return value

    return read


@dataclass(frozen=True)
class Choice:
    """A method and its options: ``"taylor"`` or ``{name = "taylor", batches = 8}``."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, **self.options}


def choice(value: Any, key: str) -> Choice:
    """Read a choice; the options are checked when the method is known (`choice.resolve`)."""
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping):
        raise IsopruneError(
            f'{key} must be a name or a table with a name, not {_got(value)}. Write {key} = {{name = "..."}}.'
        )
    if not isinstance(table.get("name"), str):
        raise IsopruneError(
            f'{key} has no name. Write {key} = {{name = "..."}}, with its options beside the name.'
        )
    options = {k: v for k, v in table.items() if k != "name"}
    for option, v in options.items():
        _plain(v, f"{key}.{option}")
    return Choice(table["name"], options)


def chain(value: Any, key: str) -> Choice:
    """Read a choice, or a list of them that are done one after the other: the choice ``chain``."""
    if not isinstance(value, list):
        return choice(value, key)
    return Choice("chain", {"steps": [choice(v, f"{key}[{i}]").as_dict() for i, v in enumerate(value)]})


def _plain(value: Any, key: str) -> None:
    """Refuse what JSON cannot hold: dates, NaN, infinity."""
    if isinstance(value, Mapping):
        for k, v in value.items():
            _plain(v, f"{key}.{k}")
    elif isinstance(value, list | tuple):
        for v in value:
            _plain(v, key)
    elif not isinstance(value, str | bool | int | float) and value is not None:
        raise IsopruneError(
            f"{key} is {_got(value)}; an option is a string, a number, true/false, a list or a table."
        )
    elif isinstance(value, float) and not math.isfinite(value):
        raise IsopruneError(f"{key} is {value}; give a finite number.")


def _by(read: Reader | type) -> dict[str, Any]:
    return {"read": read}


@dataclass(frozen=True)
class Training:
    """How a network is trained: SGD with momentum, as the paper's code.

    ``steps`` ends it after so many of them, to which the schedule then runs; none: after ``epochs``.
    ``jsv_samples`` is the number of fixed samples of the mean JSV after each epoch; 0: not measured.
    """

    epochs: int = field(metadata=_by(whole(0)))
    lr: float | None = field(default=None, metadata=_by(optional(number(0.0, above=True))))
    schedule: Choice = field(default=Choice("constant"), metadata=_by(choice))
    steps: int | None = field(default=None, metadata=_by(optional(whole(1))))
    batch: int = field(default=100, metadata=_by(whole(1)))
    momentum: float = field(default=0.9, metadata=_by(number(0.0, 1.0)))
    weight_decay: float = field(default=1e-4, metadata=_by(number(0.0)))
    jsv_samples: int = field(default=64, metadata=_by(whole(0)))


@dataclass(frozen=True)
class Pruning:
    """What goes: by which scores, and which fraction of each group's channels.

    ``scope`` "internal" leaves residual sums whole; ``allocation`` "global" lets all channels compete;
    kept channels are rounded up to a multiple of ``round_to``.
    """

    ratio: float = field(metadata=_by(number(0.0, 1.0)))
    criterion: Choice = field(default=Choice("l1_norm"), metadata=_by(choice))
    scope: str = field(default="all", metadata=_by(one_of("all", "internal")))
    allocation: str = field(default="uniform", metadata=_by(one_of("uniform", "global")))
    round_to: int = field(default=1, metadata=_by(whole(1)))


@dataclass(frozen=True)
class Measuring:
    """How finely each stage is measured: samples of the JSV, bins of their histogram."""

    samples: int = field(default=64, metadata=_by(whole(1)))
    bins: int = field(default=40, metadata=_by(whole(1)))


@dataclass(frozen=True)
class Experiment:
    """One way from data to a retrained network; equal experiments give equal bits."""

    data: Choice = field(metadata=_by(choice))
    model: Choice = field(metadata=_by(choice))
    dense: Training = field(metadata=_by(Training))
    prune: Pruning = field(metadata=_by(Pruning))
    retrain: Training = field(metadata=_by(Training))
    repair: Choice = field(default=Choice("none"), metadata=_by(chain))
    seed: int = field(default=0, metadata=_by(whole(0)))
    measure: Measuring = field(default=Measuring(), metadata=_by(Measuring))

    def as_dict(self) -> dict[str, Any]:
        """Return the record's ``config``: plain JSON, read back by `experiment`."""
        return _as_dict(self)


CHOICES = ("data", "model", "repair", "prune.criterion", "dense.schedule", "retrain.schedule")


def _as_dict(value: Any) -> Any:
    if isinstance(value, Choice):
        return value.as_dict()
    if isinstance(value, Training) and value.epochs == 0:
        return {"epochs": 0}  # What no step will read must not change the digest.
    if is_dataclass(value):
        return {f.name: _as_dict(getattr(value, f.name)) for f in fields(value)}
    return value


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
            f"{where} must be a table of keys, not {_got(table)}. Write [{where}] and its keys below."
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
    for name, training in (("dense", made.dense), ("retrain", made.retrain)):
        if training.epochs and training.lr is None:
            raise IsopruneError(
                f"Missing key '{name}.lr': {training.epochs} epochs need a learning rate. Add {name}.lr."
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
