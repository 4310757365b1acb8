"""Distillation: to learn from the dense network's outputs as well as from the labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from isoprune.types import IsopruneError


@dataclass(frozen=True)
class Distill:
    r"""The loss :math:`(1 - w)\,\text{CE} + w\,T^2\,\text{KL}(p_T \,\|\, q_T)` of weight w and temperature T.

    :math:`p_T` and :math:`q_T` are the softmax of the teacher's and the student's logits over T.
    Source: Hinton, Vinyals & Dean, 2015, arXiv 1503.02531.
    """

    weight: float
    temperature: float


def distillation_loss(logits: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    r"""Return :math:`T^2\,\text{KL}(p_T \,\|\, q_T)` in nats, the mean over samples.

    The factor makes gradients of any T as large as those of the labels.
    """
    student, wanted = (log_softmax(z / temperature, dim=1) for z in (logits, teacher))
    return kl_div(student, wanted, reduction="batchmean", log_target=True) * temperature**2


def read_distill(given: Distill | Mapping[str, Any] | None) -> Distill | None:
    """Return ``given`` as Distill: a mapping has its two fields.

    Raises:
        IsopruneError: If there are others, or a number is out of range.
    """
    if given is not None and not isinstance(given, Distill):
        if given.keys() != {"weight", "temperature"}:
            raise IsopruneError(
                f"distill has {', '.join(map(str, given)) or 'no key'}; it needs weight and temperature, and "
                "takes nothing else. Write for example {weight = 0.9, temperature = 4.0}."
            )
        given = Distill(**given)
    if given is not None and not (0 <= given.weight <= 1 and 0 < given.temperature < math.inf):
        raise IsopruneError(
            f"distill.weight is {given.weight} and distill.temperature {given.temperature}: the weight is in "
            "[0, 1], the temperature above 0 and finite."
        )
    return given
