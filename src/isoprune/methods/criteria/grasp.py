"""Gradient flow: what the norm of the gradient loses without each unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

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
    signals: Signals,
    units: Sequence[Units],
    *,
    generator: Generator,
    temperature: float = 200.0,
    statistics: Literal["batch", "network"] = "batch",
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

    g and H are of all parameters and of the network as it is, where the authors' code leaves biases and
    norms out, and draws Linear layers anew.

    Cost: a backward and a second backward of all the data. Memory: the graph of a batch's gradient.

    Raises:
        IsopruneError: If ``temperature`` is not above zero, ``statistics`` is neither, or a BatchNorm is to
            normalise by a batch of one sample.
    """
    if not temperature > 0:
        raise IsopruneError(f"temperature is {temperature}, not a number above 0. The paper takes 200.")
    if statistics not in ("batch", "network"):
        raise IsopruneError(f"statistics is {statistics!r}. Known: batch, network.")
    cool = replace(replace_loss(signals, temperature), batch_statistics=statistics == "batch")
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
