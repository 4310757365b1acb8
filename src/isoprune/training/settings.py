"""Arguments of `fit` beside network and data: how to train, callbacks, and where checkpoints go."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from isoprune.training.loop import PLAIN, Loop
from isoprune.training.tracking import Tracking
from isoprune.types import IsopruneError, Schedule
from isoprune.types.errors import did_you_mean
from isoprune.types.training_options import OPTIMIZERS

Row = dict[str, Any]  # of the history: one an epoch
OptimizerChoice = str | Callable[[Iterable[nn.Parameter]], Optimizer]


@dataclass(frozen=True)
class Training:
    """How a network is trained; a checkpoint is only resumed under equal settings.

    Attributes:
        schedule: Progress of the whole training in [0, 1), at the start of each step -> factor on ``lr``.
        batch: Samples per step, over all processes; the last step of an epoch takes what is left. None: that
            of the DataLoader, else 100.
        steps: At most so many in all: the last epoch ends with the last of them, and the schedule's progress
            counts to them. None: as many as ``epochs`` take.
        optimizer: "sgd", "adamw", or parameters -> optimizer. Of one's own, every group of parameters gets
            the rate of each step times its own rate over the optimizer's default one.
        momentum: Of SGD; of AdamW the first of its betas, the second being 0.999.
        weight_decay: Of the named optimizers.
        loop: How steps are taken: precision, accumulation, averaging and so on.
    """

    epochs: int
    lr: float
    schedule: Schedule
    batch: int | None = None
    steps: int | None = None
    optimizer: OptimizerChoice = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    loop: Loop = PLAIN

    def check(self) -> None:
        """Raise IsopruneError for numbers that no training can have, and for other things than numbers."""
        for name, value, least in (
            ("epochs", self.epochs, 0),
            ("steps", self.steps, 0),
            ("batch", self.batch, 1),
        ):
            if value is None and name != "epochs":
                continue
            if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
                raise IsopruneError(f"{name} is {value!r}. Give a whole number, {least} or more.")
        for name, value in (("lr", self.lr), ("weight_decay", self.weight_decay)):
            if not (_is(Real, value) and 0 <= value < math.inf):
                raise IsopruneError(f"{name} is {value!r}. Give a number, 0 or more and finite.")
        if not (_is(Real, self.momentum) and 0 <= self.momentum < 1):
            raise IsopruneError(f"momentum is {self.momentum!r}. Give a number in [0, 1).")
        if isinstance(self.optimizer, Optimizer):
            kind = type(self.optimizer).__name__
            raise IsopruneError(
                f"optimizer is a {kind} of one network's parameters, and a copy of the network trains. Give "
                f"a function that makes one: optimizer=lambda parameters: {kind}(parameters, ...)."
            )

    def build_optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Return the optimizer of these parameters.

        Raises:
            IsopruneError: If its name is unknown, or a function of one's own makes none.
        """
        if callable(self.optimizer):
            made = self.optimizer(parameters)
            if not isinstance(made, Optimizer):
                raise IsopruneError(
                    f"optimizer gave back a {type(made).__name__}, not an optimizer of torch. Give a "
                    "function of the parameters that returns one."
                )
            return made
        # Fused: one kernel for all parameters, a tenth off the time of an epoch of mlp_7 on a CPU.
        common: dict[str, Any] = {"lr": self.lr, "weight_decay": self.weight_decay, "fused": True}
        if self.optimizer == "sgd":
            return SGD(parameters, momentum=self.momentum, nesterov=self.loop.nesterov, **common)
        if self.optimizer == "adamw":
            momentum = float(self.momentum)  # torch refuses a whole number beside a fraction
            return AdamW(parameters, betas=(momentum, 0.999), **common)
        raise IsopruneError(
            f"Unknown optimizer {self.optimizer!r}.{did_you_mean(str(self.optimizer), OPTIMIZERS)} For your "
            "own, give a function of the parameters."
        )


def _is(kind: type, value: object) -> bool:
    """Return whether a value is a number of this kind; True and False are none."""
    return isinstance(value, kind) and not isinstance(value, bool)


@dataclass(frozen=True)
class Watch:
    """Callbacks of a running training; no result depends on them.

    Attributes:
        measure: Called on the network in eval mode before training and after every epoch; joins its row.
        on_epoch: Called with each new row, when its checkpoint is written.
        keep: Called with the epoch and the network in eval mode after every epoch, 0 included, before that
            epoch's checkpoint is written: what it has put away is there whenever training goes on after it.
            Interrupted between the two, it is called again with the same weights.
        tracked: Trackers that are given every new row.
    """

    measure: Callable[[nn.Module], Mapping[str, float]] | None = None
    on_epoch: Callable[[Row], object] | None = None
    keep: Callable[[int, nn.Module], object] | None = None
    tracked: Tracking | None = None


def read_watch(watch: Watch | Callable[[Row], object] | None) -> Watch | None:
    """Return who sees the epochs, of a function that is called with each row.

    Raises:
        IsopruneError: If it is something else.
    """
    if watch is None or isinstance(watch, Watch):
        return watch
    if not callable(watch):
        raise IsopruneError(
            f"watch is {watch!r}. Give a function of an epoch's row, such as print, or a Watch."
        )
    return Watch(on_epoch=watch)


@dataclass(frozen=True)
class Saving:
    """Where and how often all state of a training is written.

    Attributes:
        path: Before and after every epoch, and within it, all state is in ``<path>.safetensors``. If that is
            there already, training goes on from it and ends with the bits (``seconds`` apart) of one that was
            never interrupted.
        steps: Within an epoch, write after every so many steps. None: go by ``seconds``.
        seconds: Write when so many have passed, and fifty times what the last writing took.

    Raises:
        IsopruneError: If one of them is not of these kinds.
    """

    path: Path
    steps: int | None = None
    seconds: float = 60.0

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | PathLike) or not Path(self.path).name:
            raise IsopruneError(f"saving is {self.path!r}. Give a path, or Saving(path, steps, seconds).")
        object.__setattr__(self, "path", Path(self.path))
        if self.steps is not None and not (_is(Integral, self.steps) and self.steps >= 1):
            raise IsopruneError(f"Saving.steps is {self.steps!r}. Give a whole number, 1 or more.")
        if not (_is(Real, self.seconds) and self.seconds >= 0):
            raise IsopruneError(f"Saving.seconds is {self.seconds!r}. Give a number, 0 or more.")


class Trained(NamedTuple):
    """A trained copy, in eval mode with the weights of the last epoch, and the history of its epochs."""

    model: nn.Module
    history: list[Row]
