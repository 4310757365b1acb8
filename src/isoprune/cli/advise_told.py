"""Advice on a learning rate as plain data, on the terminal, and as a file."""

from __future__ import annotations

import argparse
import json
import platform
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

import isoprune
from isoprune.cli.advise_task import Task
from isoprune.cli.work import write_out
from isoprune.experiment.config import Choice
from isoprune.isometry import Diagnosis
from isoprune.reporting import advice_words as words
from isoprune.training.rates import TOLERANCE, Advice

POINTS = 240  # of the curve of a schedule
DEFAULTS = {"batch": 100, "momentum": 0.9, "weight_decay": 1e-4, "steps": None}


def as_record(task: Task, advice: Advice, args: argparse.Namespace) -> dict[str, Any]:
    """Return the advice as plain data: all that its page shows."""
    made = {
        "kind": "advice",
        "version": 1,
        "network": task.subject.label,
        **advice.as_dict(),
        "probes": [dict(row) for row in advice.as_dict()["probes"]],
        "tolerance": TOLERANCE,
        "schedule": _toml(_short(task.asked)),
        "curve": [[step / POINTS, task.schedule(step / POINTS)] for step in range(POINTS)],
        "damage": _damage(task.damage),
        "copy": _lines(task, advice),
        "provisos": list(task.subject.notes),
        "settings": {key: str(value) for key, value in _settings(task, args).items()},
    }
    return made | {"reasons": words.reasons(made), "doubts": words.doubts(made)}


def tell(console: Console, record: dict[str, Any]) -> None:
    """Print the advice in lines to copy, the probes, and why."""

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    say(record["network"])
    say(f"Advised: {words.headline(record)}")
    if not record["learns"]:
        say(words.verdict(record))
    for name, line in record["copy"].items():
        say(f"  {name:<13} {line}")
    console.print(_table(record))
    for sentence in (*record["reasons"], *record["doubts"], *record["provisos"]):
        say(sentence)


def write(file: Path, record: dict[str, Any]) -> None:
    """Write the advice as a web page (.html), as numbers (.json), or the chart of its probes (.svg, .png).

    Raises:
        IsopruneError: If the file cannot be written.
    """
    if file.suffix == ".html":
        from isoprune.reporting import advice_page

        advice_page(record, file)
        return
    if file.suffix != ".json":
        from isoprune.reporting import advice_figures, write_figure

        write_figure(advice_figures.accuracies(record), file, title=words.headline(record))
        return
    write_out(file, json.dumps(record, indent=1, allow_nan=False))


def _table(record: dict[str, Any]) -> Table:
    table = Table("rate", "held-out accuracy", "± standard error", "loss", "", box=None)
    for probe in record["probes"]:
        accuracy, loss = probe["accuracy"], probe["loss"]
        mark = "advised" if probe["lr"] == record["lr"] else "diverged" if accuracy is None else ""
        numbers = ("", "", "")
        if accuracy is not None:
            error = words.standard_error(accuracy, record["held"])
            numbers = (f"{accuracy:.1%}", f"{error:.1%}", f"{loss:.3g}")
        table.add_row(*map(Text, (f"{probe['lr']:g}", *numbers, mark)))
    return table


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


def _lines(task: Task, advice: Advice) -> dict[str, str]:
    """Return the training as it is written in a config, for --set, and in Python."""
    training, schedule = task.training, _short(task.asked)
    changed = [key for key, value in DEFAULTS.items() if getattr(training, key) != value]
    given: dict[str, Any] = {"epochs": training.epochs}
    given |= {key: getattr(training, key) for key in changed}
    if training.distill is not None:
        given["distill"] = {"weight": training.distill.weight, "temperature": training.distill.temperature}
    own = {**given, "lr": advice.lr, "schedule": schedule}
    settings = [f"--set {shlex.quote(f'retrain.{key}={_bare(value)}')}" for key, value in own.items()]
    python = {key: repr(value) for key, value in {**given, "lr": advice.lr}.items()}
    python["schedule"] = repr(task.asked.name)
    if task.asked.options:
        options = "".join(f", {key}={value!r}" for key, value in task.asked.options.items())
        python["schedule"] = (
            f"isoprune.methods.schedules.build({task.asked.name!r}, epochs={training.epochs}{options})"
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


def _settings(task: Task, args: argparse.Namespace) -> dict[str, Any]:
    training = task.training
    settings = {
        "network": args.network,
        "dense": args.dense or ("the store's" if task.subject.dense is not None else "not given"),
        "data": task.data,
        "epochs": training.epochs,
        "steps at most": "as the epochs take" if training.steps is None else training.steps,
        "batch": training.batch,
        "schedule": _toml(training.schedule.as_dict()),
        "momentum": training.momentum,
        "weight decay": training.weight_decay,
        "seed": task.seed,
        "isoprune": isoprune.__version__,
        "torch": str(torch.__version__),
        "Python": platform.python_version(),
    }
    if training.distill is not None:
        settings["distill"] = (
            f"weight {training.distill.weight:g}, temperature {training.distill.temperature:g}"
        )
    return settings
