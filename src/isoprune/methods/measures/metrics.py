"""Accuracy and loss as the network stands."""

from __future__ import annotations

from torch import Generator

from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.training import evaluate
from isoprune.types import IsopruneError
from isoprune.types.method import method

SAMPLES = 1000


@method("measure", "data", "labels")
def accuracy(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = SAMPLES
) -> dict[str, float]:
    r"""Fraction of the samples whose label has the largest output.

    ``accuracy``, in [0, 1], of the first ``samples`` samples, without any retraining.

    Cost: a forward of the samples. Memory: ``samples`` inputs, and a forward of a batch.

    Raises:
        IsopruneError: If the task measures no accuracy.
    """
    if "accuracy" not in signals.task.measured:
        known = ", ".join(signals.task.measured) or "nothing"
        raise IsopruneError(
            f"The task {signals.task.name!r} measures {known}, and no accuracy. Leave this measure out, or "
            "give the task a metric of this name."
        )
    found = evaluate(signals.network, list(signals.first(samples)), task=signals.task)
    return {"accuracy": found["accuracy"]}


@method("measure", "data", "labels")
def loss(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = SAMPLES
) -> dict[str, float]:
    r"""Mean loss of the task, of a classification in nats: :math:`-\frac{1}{N} \sum_n \log p(y_n | x_n)`.

    ``loss``, of the first ``samples`` samples, without any retraining.

    Cost: a forward of the samples. Memory: ``samples`` inputs, and a forward of a batch.

    Raises:
        IsopruneError: If only outputs of train mode have a loss.
    """
    if "loss" not in signals.task.measured:
        raise IsopruneError(
            f"The task {signals.task.name!r} has a loss in train mode only, and measures run in eval "
            "mode. Leave this measure out, or give the task a metric that is called 'loss'."
        )
    return {"loss": evaluate(signals.network, list(signals.first(samples)), task=signals.task)["loss"]}
