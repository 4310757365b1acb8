"""The record: all that is known of one finished run, as plain JSON; reports see nothing else."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from isoprune.experiment.config import Training, experiment
from isoprune.experiment.signatures import schedule
from isoprune.training import multiply_adds, trainability_accuracy

VERSION = 1


def make_record(
    digest: str,
    name: str,
    config: Mapping[str, Any],
    facts: Mapping[str, Mapping[str, Any]],
    measured: Mapping[str, Mapping[str, Any]],
    *,
    measure_seconds: float,
) -> dict[str, Any]:
    """Return the record of a run.

    Args:
        digest: Of ``config``; it names the run.
        name: Of the study in which it was run first.
        config: Resolved, so that it says every default.
        facts: Stage -> what the store knows of its network.
        measured: Stage -> accuracies and JSV.
    """
    sizes = facts["pruned"]["costs"]
    record = {
        "version": VERSION,
        "digest": digest,
        "status": "done",
        "name": name,
        "config": dict(config),
        "environment": environment(),
        "stages": {stage: {**numbers, **_size(sizes, stage)} for stage, numbers in measured.items()},
        "ratios": _ratios(config["prune"]["ratio"], sizes),
        "verification": facts["pruned"]["proof"],
        "history": {stage: f["history"] for stage, f in facts.items() if f.get("history")},
        "networks": {stage: f["digest"] for stage, f in facts.items()},
        "seconds": {
            "dense": facts["dense"]["seconds"],
            "prune": facts["pruned"]["seconds"],
            "repair": facts["repaired"]["seconds"],
            "retrain": facts.get("retrained", {}).get("seconds", 0.0),
            "measure": measure_seconds,
        },
    }
    costs = {stage: _cost(facts, config, stage) for stage in ("dense", "pruned", "retrained")}
    if any(costs.values()):
        record["training"] = {stage: cost for stage, cost in costs.items() if cost}
    if (advice := facts.get("retrained", {}).get("advice")) is not None:
        record["advice"] = advice
    if "retrained" in facts:
        retrain = experiment(config).retrain
        history = facts["retrained"]["history"]
        record["trainability_accuracy"] = trainability_accuracy(
            history, epochs=first_stage(retrain, len(history) - 1)
        )
    return record


def first_stage(training: Training, epochs: int) -> int:
    """Return how many of ``epochs`` begin, one after the other from the first, at the first learning rate."""
    factor = schedule(training)
    first = factor(0.0)
    for epoch in range(epochs):
        if factor(epoch / epochs) != first:
            return epoch
    return epochs


def environment() -> dict[str, Any]:
    """Return what the bits may depend on besides the config."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "isoprune": version("isoprune"),
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
    }


def _cost(
    facts: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any], stage: str
) -> dict[str, Any] | None:
    """Return samples and multiply-adds of a training, and its distillation; None if nothing is known."""
    samples = facts.get(stage, {}).get("samples")
    if samples is None:  # not trained, or by a version that did not write it down
        return None
    flops = {which: facts["pruned"]["costs"][which]["flops"] for which in ("dense", "pruned")}
    distill = config["retrain"].get("distill") if stage == "retrained" else None
    cost = multiply_adds(
        samples["trained"],
        # While it is made ready to be pruned, a network is whole.
        flops=flops["pruned" if stage == "retrained" else "dense"],
        teacher=flops["dense"] if distill else 0,
        estimated=samples["estimated"],
    )
    told = {"distillation": dict(distill)} if distill else {}
    return {"samples": samples["trained"], "multiply_adds": cost, **told}


def _size(realised: Mapping[str, Any], stage: str) -> dict[str, int]:
    # Repairing and retraining change no shape.
    which = "dense" if stage == "dense" else "pruned"
    return {"parameters": realised[which]["parameters"], "flops": realised[which]["flops"]}


def _ratios(asked: float | Mapping[str, float] | None, realised: Mapping[str, Any]) -> dict[str, Any]:
    groups = [
        {"name": n, "channels": s, "removed": gone, "ratio": gone / s} for n, s, gone in realised["units"]
    ]
    went = realised["ratios"]
    shares = {"filters": went["filters"], "weights": went["parameters"], "flops": went["flops"]}
    return {"asked": asked, **shares, "groups": groups}
