"""The diagnosis of a network that is called by its name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from isoprune.experiment.named_data import Inputs, require_fit
from isoprune.experiment.named_network import NamedNetwork
from isoprune.forecast import Fitted, Forecast, no_forecast
from isoprune.graph import trace
from isoprune.isometry import Diagnosis, diagnose, effort, with_repairs
from isoprune.pruning.pruned import Pruned, as_pruned
from isoprune.pruning.whole_layer import with_whole_layer
from isoprune.types import Plan
from isoprune.verbs.diagnose import every_repair, try_repairs
from isoprune.verbs.forecast import forecast_of


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
