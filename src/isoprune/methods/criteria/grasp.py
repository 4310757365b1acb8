"""Gradient flow: what the norm of the gradient loses without each unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from torch import Generator, Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_map_only

from isoprune.pruning.unit_scores import score_units
from isoprune.signals import Signals
from isoprune.signals.work import samples_in_memory
from isoprune.types import IsopruneError, Scores, Units
from isoprune.types.errors import check_known
from isoprune.types.method import method
from isoprune.types.task import Task
from isoprune.types.units import GRAINS


@method(
    "criterion",
    "data",
    "labels",
    "gradients",
    grains=GRAINS,
    comparable=True,
    label="GraSP",
    source="Wang, Zhang & Grosse, ICLR 2020, arXiv 2002.07376",
)
def grasp(
    signals: Signals,
    units: Sequence[Units],
    *,
    generator: Generator,
    temperature: float = 200.0,
    statistics: Literal["batch", "network"] = "batch",
    gigabytes: float = 4.0,
) -> Scores:
    r"""Share in the squared norm of the gradient: :math:`s_i = \sum_{j \in i} w_j (H g)_j`.

    g is the gradient of the mean loss over all the data, with the outputs divided by ``temperature`` (logits,
    as in the paper), H its Hessian. Without the unit :math:`\|g\|^2` changes by about
    :math:`-2 s_i`: units with a score below zero, whose loss would raise it, go first. (The paper's own
    number is :math:`-s_i`, of which the largest go.) Meant for single weights of networks before training.

    Args:
        temperature: What the outputs are divided by.
        statistics: What BatchNorm normalises by: the "batch" at hand, as in the authors' code, or what the
            "network" holds. Before training masks by the network's are worse than random ones of the same
            layers (docs/arena.md). With "batch" the loss does not depend on the size of a filter before a
            BatchNorm, so over such a filter scores add up to :math:`-\|g_f\|^2`, however it matters: of
            channels and filters, and of trained networks, take "network".
        gigabytes: What the graph of a batch's gradient may take. Batches with a larger one are cut; where
            BatchNorm normalises by them that would change them, and they are refused.

    g and H are of all parameters and of the network as it is, where the authors' code leaves biases and
    norms out, and draws Linear layers anew.

    Cost: a backward and a second backward of all the data. Memory: the graph of a batch's gradient, within
    ``gigabytes``, and about as much again on the way back.

    Raises:
        IsopruneError: If ``temperature`` is not above zero, ``statistics`` is neither, or a BatchNorm is to
            normalise by a batch of one sample; if the graph of one sample takes more than ``gigabytes``, or
            that of a batch which cannot be cut.
    """
    if not temperature > 0:
        raise IsopruneError(f"temperature is {temperature}, not a number above 0. The paper takes 200.")
    check_known(statistics, ("batch", "network"), "statistics")
    cool = replace(replace_loss(signals, temperature), batch_statistics=statistics == "batch")
    cool = _within(cool, gigabytes)
    bent = cool.hessian_product(cool.gradients)
    values = {name: signals.weights[name] * h for name, h in bent.items()}
    return score_units(values, units, lambda total, _: total)


def _within(signals: Signals, gigabytes: float) -> Signals:
    """Return the signals in batches whose gradients' graphs take no more than so much."""
    fit = samples_in_memory(signals, gigabytes, second=True)
    coupled = signals.batch_statistics and any(isinstance(m, _BatchNorm) for m in signals.network.modules())
    if not coupled:
        return signals.in_batches_of(fit)
    most = max(signals.task.samples(batch) for batch in signals.data())
    if most > fit:
        remedy = f"Give batches of {fit} samples or fewer" if fit > 1 else "Take statistics='network'"
        raise IsopruneError(
            f"The graph of the gradient of a batch of {most} samples takes more than "
            f"gigabytes={gigabytes:g}, and BatchNorm normalises by the batch, so it is not cut. {remedy}, or "
            "raise gigabytes."
        )
    return signals


def replace_loss(signals: Signals, temperature: float) -> Signals:
    """Return the signals with outputs that are divided by ``temperature`` before the loss reads them."""
    task = signals.task

    def loss(outputs: Any, batch: Any) -> Tensor:
        divided = tree_map_only(Tensor, lambda t: t / temperature if t.is_floating_point() else t, outputs)
        return task.loss(divided, batch)

    cooled = Task(
        task.inputs, loss, {}, task.name, loss_in_train_mode=task.loss_in_train_mode, samples=task.samples
    )
    return replace(signals, task=cooled)
