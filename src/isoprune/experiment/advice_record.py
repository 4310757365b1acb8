"""Advice on a network given by its name, with its probes stored; and that advice as plain data."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from msgspec import structs

import isoprune
from isoprune.data import DATA_SETS
from isoprune.data.files import data_root
from isoprune.experiment.config import Choice
from isoprune.experiment.digests import digest
from isoprune.experiment.named_data import EXAMPLE, RANDOM, Inputs, load_splits, named_data, require_fit
from isoprune.experiment.named_network import NamedNetwork
from isoprune.experiment.seeds import jsv_inputs
from isoprune.experiment.signatures import complete, schedule
from isoprune.experiment.step_types import TrainingConfig
from isoprune.experiment.steps.train import training_of
from isoprune.isometry import Diagnosis, diagnose
from isoprune.isometry.effort import SAMPLES
from isoprune.training import Distill, Training
from isoprune.training.distill import read_distill
from isoprune.training.probe_cache import ProbeCache
from isoprune.training.rates import TOLERANCE, Advice, Probe
from isoprune.training.source import Batching, source_of
from isoprune.types import CLASSIFICATION, Schedule, Splits
from isoprune.types.errors import IsopruneError
from isoprune.verbs.advise import advise_on, probes_digest, usual_rates

POINTS = 240  # of the curve of a schedule
DEFAULTS = {"batch": 100, "optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-4, "steps": None}


def advice_record(question: Question, advice: Advice, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the advice as plain data.

    Args:
        settings: How the network and its ``dense`` one were called.
    """
    told = advice.as_dict()
    return {
        "kind": "advice",
        "version": 1,
        "network": question.network.label,
        **told,
        # What probes took is no part of the advice: gone on with, it is the same to the last byte.
        "probes": [{key: value for key, value in row.items() if key != "seconds"} for row in told["probes"]],
        "tolerance": TOLERANCE,
        "schedule": _toml(_short(question.written)),
        "curve": [[step / POINTS, question.schedule(step / POINTS)] for step in range(POINTS)],
        "damage": _damage(question.damage),
        "copy": _lines(question, advice),
        "provisos": list(question.network.notes),
        "settings": {key: str(value) for key, value in _settings(question, settings).items()},
    }


def _damage(damage: Diagnosis | str) -> dict[str, Any]:
    if isinstance(damage, str):
        return {"verdict": None, "reason": damage}
    keys = ("jsv_mean", "jsv_mean_error", "dense_jsv_mean", "dense_jsv_mean_error", "jsv_ratio")
    return {
        "verdict": damage.verdict,
        "headline": damage.sentences[0],
        "numbers": {key: damage.numbers[key] for key in keys if key in damage.numbers},
        "samples": damage.effort.samples,
        "method": damage.effort.method,
    }


def _lines(question: Question, advice: Advice) -> dict[str, str]:
    """Return the training as it is written in a config, for --set, and in Python."""
    training, schedule = question.training, _short(question.written)
    changed = [key for key, value in DEFAULTS.items() if getattr(training, key) != value]
    given: dict[str, Any] = {"epochs": training.epochs}
    given |= {key: getattr(training, key) for key in changed}
    if training.distill is not None:
        given["distill"] = {"weight": training.distill.weight, "temperature": training.distill.temperature}
    own = {**given, "lr": advice.lr, "schedule": schedule}
    settings = [f"--set {shlex.quote(f'retrain.{key}={_bare(value)}')}" for key, value in own.items()]
    python = {key: repr(value) for key, value in {**given, "lr": advice.lr}.items()}
    python["schedule"] = repr(question.written.name)
    if question.written.options:
        options = "".join(f", {key}={value!r}" for key, value in question.written.options.items())
        python["schedule"] = (
            f"isoprune.methods.schedules.build({question.written.name!r}, epochs={training.epochs}{options})"
        )
    if training.distill is not None:
        python["dense"] = "dense"
    arguments = ", ".join(f"{key}={value}" for key, value in python.items())
    return {
        "config": f"retrain = {_toml(own)}",
        "command line": " ".join(settings),
        "Python": f"isoprune.retrain(network, splits, {arguments})",
    }


def _short(choice: Choice) -> Any:
    return choice.as_dict() if choice.options else choice.name


def _bare(value: Any) -> str:
    return value if isinstance(value, str) else _toml(value)


def _toml(value: Any) -> str:
    """Return a value of a config as TOML, tables in one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def _settings(question: Question, called: Mapping[str, Any]) -> dict[str, Any]:
    training = question.training
    settings = {
        "network": called["network"],
        "dense": called["dense"] or ("the store's" if question.network.dense is not None else "not given"),
        "data": question.data.name,
        "epochs": training.epochs,
        "steps at most": "as the epochs take" if training.steps is None else training.steps,
        "batch": training.batch,
        "schedule": _toml(training.schedule.as_dict()),
        "optimizer": training.optimizer,
        "momentum": training.momentum,
        "weight decay": training.weight_decay,
        "seed": question.seed,
        "isoprune": isoprune.__version__,
        "torch": str(torch.__version__),
        "Python": platform.python_version(),
    }
    if training.distill is not None:
        settings["distill"] = (
            f"weight {training.distill.weight:g}, temperature {training.distill.temperature:g}"
        )
    return settings


@dataclass(frozen=True)
class Question:
    """What advice is wanted on: a network, its data and a training.

    ``written`` is the schedule as it was given, ``training`` has it complete. ``damage`` is a diagnosis, or
    why there is none. ``cache`` has the probes of this question; it is in a file named by all they depend on.
    """

    network: NamedNetwork
    splits: Splits
    data: Choice
    training: TrainingConfig
    written: Choice
    schedule: Schedule
    rates: tuple[float, ...]
    seed: int
    damage: Diagnosis | str
    cache: ProbeCache

    @property
    def known(self) -> list[Probe]:
        """The stored probes of the rates in question."""
        kept = self.cache.read()
        return [kept[lr] for lr in self.rates if lr in kept]


def open_question(
    network: NamedNetwork,
    data: str | None,
    training: TrainingConfig,
    *,
    rates: Sequence[float] | None = None,
    samples: int | None = None,
    seed: int = 0,
) -> Question:
    """Return the question, everything checked and the damage measured on training inputs.

    Args:
        network: From `open_network`, with its dense network if ``training`` distils.
        data: Names a data set or a folder of images; None: what a network of the store was trained on.
        training: Without its rate.
        rates: To choose from; None: `usual_rates`.
        samples: Of the Jacobian.

    Raises:
        IsopruneError: If there is no such data or schedule, they do not fit the network, or probes cannot be
            kept.
    """
    written = training.schedule
    training = structs.replace(training, schedule=complete("schedule", written, "--schedule"))
    factor = schedule(training)
    if training.distill is not None and network.dense is None:
        raise IsopruneError(
            "--distill is to learn from the dense network, and there is none. Give it: --dense DENSE."
        )
    chosen = _data(data, network)
    splits = load_splits(chosen, network, seed=seed)
    inputs = jsv_inputs(splits.train, SAMPLES if samples is None else samples, seed=seed)
    measured = [(inputs, torch.zeros(len(inputs), dtype=torch.long))]
    shown = Inputs(measured, [], f"training images of {chosen.name}")
    require_fit(network.model, shown, network.label)
    if network.dense is not None:
        require_fit(network.dense, shown, "The dense network")
    try:
        damage = diagnose(network.model, measured, network.dense, samples=samples, seed=seed)
    except IsopruneError as error:  # Where it cannot be measured it can still be trained.
        damage = " ".join(str(error).split())
    source, how, distill = _probing(network, splits, training, factor)
    probed = probes_digest(network.model, source, how, task=CLASSIFICATION, distill=distill, seed=seed)
    own = digest([isoprune.__version__, network.label, chosen.as_dict(), probed])
    remedy = "Set ISOPRUNE_DATA to a directory that you may write to."
    cache = ProbeCache(data_root() / "advice" / f"{own}.json", own, remedy)
    cache.require_writable()
    rates = tuple(rates or usual_rates(training.optimizer))
    return Question(network, splits, chosen, training, written, factor, rates, seed, damage, cache)


def answer(question: Question, *, on_probe: Callable[[Probe], object] = lambda _: None) -> Advice:
    """Return the advice; stored probes are not run again, and each new one is stored.

    Raises:
        IsopruneError: As `advise` does, or if probes cannot be kept.
    """
    network = question.network
    source, training, distill = _probing(network, question.splits, question.training, question.schedule)

    def finished(probe: Probe) -> None:
        question.cache.add(probe)
        on_probe(probe)

    return advise_on(
        network.model,
        source,
        training,
        task=CLASSIFICATION,
        distill=distill,
        rates=question.rates,
        seed=question.seed,
        done=list(question.cache.read().values()),
        on_probe=finished,
    )


def _data(text: str | None, network: NamedNetwork) -> Choice:
    known = f"a data set ({', '.join(DATA_SETS)}), a folder of one folder of images a class"
    if text in (RANDOM, EXAMPLE):
        raise IsopruneError(
            f"--data {text} has no labels to train on. Give {known}, or my_package.module:function."
        )
    if text is None and network.facts is None:
        raise IsopruneError(
            f"Say what to train {network.label} on: --data with {known}, or my_package.module:function."
        )
    return named_data(text, network)


def _probing(
    network: NamedNetwork, splits: Splits, training: TrainingConfig, schedule: Schedule
) -> tuple[Batching, Training, Distill | None]:
    """Return what a network is probed on and how, as `advise_on` takes it."""
    teaching = None if training.distill is None else structs.asdict(training.distill)
    distill = read_distill(teaching, network.dense)
    return source_of(splits.train, training.batch), training_of(training, schedule), distill
