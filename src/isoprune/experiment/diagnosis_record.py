"""A diagnosis as plain data: all that its page, its file of numbers and its tables show."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import torch
from msgspec import to_builtins

import isoprune
from isoprune.experiment.measure import histogram
from isoprune.experiment.named_data import Inputs
from isoprune.experiment.named_network import NamedNetwork
from isoprune.isometry import Diagnosis, thresholds

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
