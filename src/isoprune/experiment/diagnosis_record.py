"""The diagnosis of a network that is called by its name, and the same as plain data: all that is shown."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from msgspec import to_builtins

import isoprune
from isoprune.experiment.measure import histogram
from isoprune.experiment.named_data import Inputs, require_fit
from isoprune.experiment.named_network import NamedNetwork
from isoprune.forecast import Fitted, Forecast, no_forecast
from isoprune.graph import trace
from isoprune.isometry import Diagnosis, diagnose, effort, thresholds, with_repairs
from isoprune.pruning.pruned import Pruned, as_pruned
from isoprune.pruning.whole_layer import with_whole_layer
from isoprune.types import Plan
from isoprune.verbs.diagnose import every_repair, try_repairs
from isoprune.verbs.forecast import forecast_of

BINS = 80
# The other keys of a summary are among the numbers.
SHOWN = ("mean", "mean_error", "std", "min", "max", "max_error", "condition", "below_1e3", "distance")


def diagnosis_record(
    network: NamedNetwork, inputs: Inputs, diagnosis: Diagnosis, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the diagnosis as plain data.

    Args:
        settings: What was asked for: how ``network`` and ``dense`` are called, and the ``seed``.
    """
    effort = diagnosis.effort
    # The last sentences are of the repairs, one each.
    last = len(diagnosis.sentences) - len(diagnosis.repairs)
    how = "exact" if effort.method == "exact" else "estimated"
    written = {
        "network": settings["network"],
        "dense": settings["dense"] or ("the store's" if network.dense is not None else "not given"),
        "data": inputs.description,
        "samples": effort.samples,
        "singular values": f"{how}, {effort.values:,} a sample",
        "multiply-adds of a sample": f"exact {effort.exact:.2g}, estimate {effort.estimate:.2g}",
        "seed": settings["seed"],
        "isoprune": isoprune.__version__,
        "torch": str(torch.__version__),
        "Python": platform.python_version(),
    }
    return {
        "kind": "diagnosis",
        "version": 1,
        "network": network.label,
        "verdict": diagnosis.verdict,
        "sentences": list(diagnosis.sentences[:last]),
        "restored": list(diagnosis.sentences[last:]),
        "provisos": [f"Measured on {inputs.description}.", *network.notes],
        "networks": _networks(network, diagnosis),
        "layers": diagnosis.as_rows(),
        "numbers": diagnosis.numbers,
        "forecast": None if diagnosis.forecast is None else diagnosis.forecast.as_dict(),
        "refused": {name: " ".join(reason.split()) for name, reason in diagnosis.refused.items()},
        "settings": {key: str(value) for key, value in written.items()},
        "thresholds": {name.lower(): value for name, value in vars(thresholds).items() if name.isupper()},
    }


def _networks(network: NamedNetwork, diagnosis: Diagnosis) -> list[dict[str, Any]]:
    """Return one row a network: dense, the one diagnosed, then by repair; its numbers, and its histogram."""
    own = network.facts["role"] if network.facts else "this network"
    named = {"dense": "dense"} if "dense_jsv_mean" in diagnosis.numbers else {}
    named |= {"": own} | {name: name for name in diagnosis.repairs}
    rows = []
    for key, label in named.items():
        start = f"{key}_jsv_".lstrip("_")
        numbers = {
            part: diagnosis.numbers[start + part] for part in SHOWN if start + part in diagnosis.numbers
        }
        sigma = diagnosis.sigma.get(key)
        rows.append(
            {
                "name": label,
                "role": {"dense": "dense", "": "own"}.get(key, "repaired"),
                "jsv": numbers,
                "histogram": None if sigma is None else to_builtins(histogram(sigma, bins=BINS)),
            }
        )
    return rows


def diagnose_network(
    network: NamedNetwork,
    inputs: Inputs,
    *,
    samples: int | None = None,
    exact: bool = False,
    repairs: Sequence[str] | None = None,
    retrain_samples: int | None = None,
    fitted: Fitted | None = None,
    seed: int = 0,
    **where: Any,
) -> Diagnosis:
    """Return the diagnosis of a network beside its dense one, with what repairs restore.

    Args:
        network: From `open_network`; what the store has of its repaired form is measured, not made anew.
        inputs: From `open_inputs`.
        samples: How many inputs are measured; None: 64, fewer where one takes long.
        exact: Exact singular values, however long it takes.
        repairs: Tried on copies; None: all, unless the network is healthy.
        retrain_samples: Of the retraining whose accuracy is forecast; None: there is no forecast.
        fitted: The forecast's; None: what comes with isoprune.
        where: ``input`` and ``output`` of `isoprune.isometry.diagnose`.

    Raises:
        IsopruneError: If a network does not take the inputs or cannot be measured, or a repair is unknown.
    """
    require_fit(network.model, inputs, network.label, **where)
    if network.dense is not None:
        require_fit(network.dense, inputs, "The dense network", **where)
    pruned = as_pruned(network.model)
    if network.dense is not None:
        graph, plan = pruned.graph, network.plan or Plan()
        if plan:
            graph = trace(network.dense, inputs.measured[0][0])
        pruned = replace(pruned, dense=network.dense, plan=plan, graph=graph)
    diagnosis = diagnose(
        network.model,
        inputs.measured,
        network.dense,
        samples=samples,
        budget=math.inf if exact else effort.BUDGET,
        repaired=network.repaired,
        spare=partial(with_whole_layer, pruned),
        seed=seed,
        **where,
    )
    if repairs is None:
        repairs = () if diagnosis.verdict == "healthy" else every_repair()
    tried = try_repairs(
        pruned,
        [name for name in repairs if name not in network.repaired],
        batches=inputs.training,
        seed=seed,
    )
    diagnosis = with_repairs(diagnosis, tried, inputs.measured, seed=seed, **where)
    if retrain_samples is None:
        return diagnosis
    return replace(diagnosis, forecast=_forecast(pruned, inputs, retrain_samples, fitted, seed))


def _forecast(pruned: Pruned, inputs: Inputs, samples: int, fitted: Fitted | None, seed: int) -> Forecast:
    if inputs.validation is None:
        return no_forecast(
            f"it needs labels, and these are {inputs.description}. Give --data a labelled data set, or a "
            "folder of one folder of images a class.",
            samples,
        )
    return forecast_of(
        pruned, inputs.training, samples=samples, validation=inputs.validation, fitted=fitted, seed=seed
    )
