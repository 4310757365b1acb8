"""The forecast of a network: what it needs is measured, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

from torch import nn

from isoprune.forecast import Fitted, Forecast, forecast, no_forecast, read_fitted
from isoprune.pruning.costs import cost_of
from isoprune.pruning.pruned import Pruned
from isoprune.signals.samples import batches_of
from isoprune.training import evaluate
from isoprune.types import IsopruneError
from isoprune.types.task import CLASSIFICATION, Task, reads_classes
from isoprune.verbs.measures import measures

_SEEN = 64  # batches that the dense accuracy is taken of, where no validation data are given


def forecast_of(
    pruned: Pruned,
    batches: Iterable[Any],
    *,
    samples: int,
    validation: Any = None,
    task: Task = CLASSIFICATION,
    fitted: Fitted | None = None,
    seed: int = 0,
) -> Forecast:
    """Return the accuracy that a pruned network will have after retraining, or why there is no forecast.

    Args:
        batches: Training data with labels, as for `isoprune.measures`.
        samples: Of the retraining: epochs times training samples.
        validation: Labelled data on which the dense network's accuracy is taken. None: ``batches``, on which
            a network that was trained on them has more than on others.
        fitted: None: what comes with isoprune.

    Cost: the measures of ``fitted`` (`docs/forecast.md` says what part of a retraining), and a forward
    of ``validation`` through the dense network.

    Raises:
        IsopruneError: If ``samples`` is below 1.
    """
    check_retrain_samples(samples)
    began = time.perf_counter()
    if fitted is None:
        fitted = read_fitted()
    batches = batches_of(batches)
    first = next(iter(batches), None)
    if not reads_classes(task, first) or "accuracy" not in task.measured:
        return no_forecast(
            "it is of the accuracy of a classification, and needs batches of (inputs, labels).", samples
        )
    if pruned.dense is pruned.model:
        return no_forecast("it is of what is lost against the dense network. Give dense=.", samples)
    data = list(islice(batches, _SEEN)) if validation is None else validation
    dense = evaluate(pruned.dense, data, task=task)["accuracy"]
    found = measures(pruned, batches, names=fitted.measures, task=task, seed=seed)
    seconds = time.perf_counter() - began
    if found.refused:
        name, reason = next(iter(found.refused.items()))
        return no_forecast(
            f"the measure {name!r} that it is made of cannot be taken. {reason}",
            samples, dense=dense, seconds=seconds,
        )  # fmt: skip
    parameters, flops = left_of(pruned.dense, pruned.model, task.inputs_of(first))
    return forecast(
        fitted,
        found.numbers,
        dense_accuracy=dense,
        parameters_left=parameters,
        flops_left=flops,
        samples=samples,
        seconds=seconds,
    )


def left_of(dense: nn.Module, model: nn.Module, inputs: Any) -> tuple[float, float]:
    """Return the fractions of the dense network's parameters and multiply-adds that a network has.

    What a mask holds at zero is no parameter, but is multiplied all the same. Counted anew, and not read off
    a plan: the two may come from two files.
    """
    before, now = cost_of(dense, inputs), cost_of(model, inputs)
    return now.nonzero / before.parameters, now.flops / before.flops


def check_retrain_samples(samples: int) -> None:
    """Raise unless there is a retraining to forecast."""
    if samples < 1:
        raise IsopruneError(
            f"retrain_samples is {samples}, and the forecast is of a retraining. Give epochs times training "
            "samples."
        )
