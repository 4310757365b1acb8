"""The training that `isoprune advise` is asked about, read from its words."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from isoprune.experiment.config import Distilling, Training
from isoprune.experiment.readers import number, optional, whole
from isoprune.types.errors import IsopruneError


@dataclass(frozen=True)
class Recipe:
    """A training without its rate, and the rates to probe; None: those of the library.

    Its schedule is read when the methods are loaded.
    """

    training: Training
    rates: tuple[float, ...] | None


def read_recipe(args: argparse.Namespace) -> Recipe:
    """Return the training that the command line describes, each number checked.

    Raises:
        IsopruneError: For a number out of range, or lists that are none.
    """
    training = Training(
        epochs=whole(1)(args.epochs, "--epochs"),
        steps=optional(whole(1))(args.steps, "--steps"),
        batch=whole(1)(args.batch, "--batch"),
        momentum=number(0.0, 1.0)(args.momentum, "--momentum"),
        weight_decay=number(0.0)(args.weight_decay, "--weight-decay"),
        distill=_distilling(args.distill),
    )
    return Recipe(training, _rates(args.rates))


def _rates(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    rates = _numbers(text)
    if rates is None or any(not lr > 0 for lr in rates) or rates != sorted(set(rates)):
        raise IsopruneError(
            f"--rates {text} is no list of rates above 0, each larger than the last. Write for example "
            "--rates 0.003,0.01,0.03."
        )
    return tuple(number(0.0, above=True)(lr, "--rates") for lr in rates)


def _distilling(text: str | None) -> Distilling | None:
    if text is None:
        return None
    found = _numbers(text)
    if found is None or len(found) != 2 or not 0 <= found[0] <= 1 or not found[1] > 0:
        raise IsopruneError(
            f"--distill {text} is no weight in [0, 1] and temperature above 0. Write for example "
            "--distill 0.9,4."
        )
    return Distilling(found[0], number(0.0, above=True)(found[1], "--distill"))


def _numbers(text: str) -> list[float] | None:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        return None
