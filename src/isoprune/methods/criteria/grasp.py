"""Gradient flow: what the norm of the gradient loses without each unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Generator, Tensor
from torch.utils._pytree import tree_map_only

from isoprune.methods.criteria.unit_scores import score_units
from isoprune.signals import Signals
from isoprune.types import IsopruneError, Scores, Units
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
    signals: Signals, units: Sequence[Units], *, generator: Generator, temperature: float = 200.0
) -> Scores:
    r"""Share in the squared norm of the gradient: :math:`s_i = \sum_{j \in i} w_j (H g)_j`.

    g is the gradient of the mean loss over all the data, with the outputs divided by ``temperature`` (logits,
    as in the paper), H its Hessian. Without the unit :math:`\|g\|^2` changes by about
    :math:`-2 s_i`: units with a score below zero, whose loss would raise it, go first. (The paper's own
    number is :math:`-s_i`, of which the largest go.) Meant for networks before training; they are read in
    eval mode as they are, where the paper draws Linear layers anew.

    Cost: a backward and a second backward of all the data. Memory: the graph of a batch's gradient.

    Raises:
        IsopruneError: If ``temperature`` is not above zero.
    """
    if not temperature > 0:
        raise IsopruneError(f"temperature is {temperature}, not a number above 0. The paper takes 200.")
    cool = replace_loss(signals, temperature)
    bent = cool.hessian_product(cool.gradients)
    values = {name: signals.weights[name] * h for name, h in bent.items()}
    return score_units(values, units, lambda total, _: total)


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
