"""Advice on a learning rate as plain data; its sentences are those of the reports."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Mapping
from typing import Any

import torch

import isoprune
from isoprune.experiment.config import Choice
from isoprune.experiment.named_advice import Question
from isoprune.isometry import Diagnosis
from isoprune.training.rates import TOLERANCE, Advice

POINTS = 240  # of the curve of a schedule
DEFAULTS = {"batch": 100, "momentum": 0.9, "weight_decay": 1e-4, "steps": None}


def advice_record(question: Question, advice: Advice, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the advice as plain data.

    Args:
        settings: How the network and its ``dense`` one were called.
    """
    return {
        "kind": "advice",
        "version": 1,
        "network": question.network.label,
        **advice.as_dict(),
        "probes": [dict(row) for row in advice.as_dict()["probes"]],
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
