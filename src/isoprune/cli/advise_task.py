"""What `isoprune advise` works on: the network, its data, its damage, and the training it is asked about."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Generator

import isoprune
from isoprune.cli.advise_read import Recipe
from isoprune.cli.data_choice import chosen_data, chosen_folder, is_folder, load_splits, read_choice
from isoprune.cli.diagnose_data import EXAMPLE, RANDOM, Data, require_fit
from isoprune.cli.diagnose_open import Subject, is_record, is_source, open_dense, open_subject
from isoprune.cli.prune import read_shape
from isoprune.data import DATA_SETS
from isoprune.experiment.config import Choice, Training
from isoprune.experiment.digests import digest
from isoprune.experiment.seeds import jsv_inputs
from isoprune.experiment.signatures import complete, schedule
from isoprune.isometry import Diagnosis, diagnose
from isoprune.isometry.effort import SAMPLES
from isoprune.training.resume import fingerprint
from isoprune.types import Schedule, Splits
from isoprune.types.errors import IsopruneError
from isoprune.verbs.advise import HELD, LEAST_STEPS, MOST_HELD, RATES, SHARE


@dataclass(frozen=True)
class Task:
    """One question: which rate for this network, these data and this training?

    ``asked`` is the schedule as it was written, ``training`` has it complete. ``damage`` is a diagnosis, or
    why there is none. ``digest`` is of all that the probes depend on but their rates.
    """

    subject: Subject
    splits: Splits
    data: str
    training: Training
    asked: Choice
    schedule: Schedule
    rates: tuple[float, ...]
    seed: int
    damage: Diagnosis | str
    digest: str


def open_task(args: argparse.Namespace, recipe: Recipe) -> Task:
    """Return what the command line names: opened, checked, and its damage measured on training inputs.

    Raises:
        IsopruneError: If there is no such network, data set or schedule, or they do not fit together.
    """
    asked = read_choice(args.schedule, "--schedule", '{name = "one_cycle", rise = 0.3}')
    training = replace(recipe.training, schedule=complete("schedule", asked, "--schedule"))
    factor = schedule(training)
    subject = _subject(args)
    if training.distill is not None and subject.dense is None:
        raise IsopruneError(
            "--distill is to learn from the dense network, and there is none. Give it: --dense DENSE."
        )
    chosen = _chosen(args.data, subject)
    splits = load_splits(chosen, subject, seed=args.seed)
    inputs = jsv_inputs(splits.train, SAMPLES if args.samples is None else args.samples, seed=args.seed)
    data = Data(
        [(inputs, torch.zeros(len(inputs), dtype=torch.long))], [], f"training images of {chosen.name}"
    )
    require_fit(subject.model, data, subject.label)
    if subject.dense is not None:
        require_fit(subject.dense, data, "The dense network")
    return Task(
        subject=subject,
        splits=splits,
        data=chosen.name,
        training=training,
        asked=asked,
        schedule=factor,
        rates=recipe.rates or RATES,
        seed=args.seed,
        damage=_damage(subject, data, args),
        digest=_digest(args, subject, chosen, splits, training),
    )


def _subject(args: argparse.Namespace) -> Subject:
    common: dict[str, Any] = {"shape": read_shape(args.shape), "seed": args.seed}
    build = args.build or (args.dense if is_source(args.dense) else None)
    stage = args.stage or ("repaired" if is_record(args.network) else None)
    subject = open_subject(args.network, stage=stage, build=build, weights=args.weights, **common)
    if args.dense is None:
        return subject
    before = open_dense(args.dense, build=build, weights=args.dense_weights, **common)
    return replace(subject, dense=before.model, notes=(*subject.notes, *before.notes))


def _chosen(text: str | None, subject: Subject) -> Choice:
    if text in (RANDOM, EXAMPLE):
        raise IsopruneError(
            f"--data {text} has no labels to train on. Give a data set ({', '.join(DATA_SETS)}), a folder of "
            "one folder of images a class, or my_package.module:function."
        )
    if text is None and subject.facts is None:
        raise IsopruneError(
            f"Say what to train {subject.label} on: --data with a data set ({', '.join(DATA_SETS)}), a "
            "folder of one folder of images a class, or my_package.module:function."
        )
    if text is not None and is_folder(text):
        return chosen_folder(text, subject)
    return chosen_data(text, subject)


def _damage(subject: Subject, data: Data, args: argparse.Namespace) -> Diagnosis | str:
    """Return the diagnosis; where the network cannot be measured it can still be trained: why."""
    try:
        return diagnose(subject.model, data.measured, subject.dense, samples=args.samples, seed=args.seed)
    except IsopruneError as error:
        return " ".join(str(error).split())


def _digest(
    args: argparse.Namespace, subject: Subject, chosen: Choice, splits: Splits, training: Training
) -> str:
    """Return what a probe depends on but its rate: weights, architecture, data and settings."""
    recipe = asdict(training)
    recipe["schedule"] = training.schedule.as_dict()
    settings = {"isoprune": isoprune.__version__, "probing": [HELD, MOST_HELD, SHARE, LEAST_STEPS]}
    settings |= {"network": subject.label, "data": chosen.as_dict(), "recipe": recipe}
    generator = Generator().manual_seed(args.seed)
    # Of validation data not even the labels: probes do not depend on them.
    seen = Splits(splits.train, splits.train, splits.train, splits.classes)
    of = [fingerprint(subject.model, seen, generator, settings), repr(subject.model)]
    if training.distill is not None and subject.dense is not None:
        of += [fingerprint(subject.dense, seen, generator, {}), repr(subject.dense)]
    return digest(of)
