"""Distillation: to learn from the dense network's outputs as well as from the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

from isoprune.types import IsopruneError
from isoprune.types.training_options import check_distill


@dataclass(frozen=True)
class Distill:
    r"""The loss :math:`(1 - w)\,L + w\,T^2\,\text{KL}(p_T \,\|\, q_T)`, L the task's loss.

    :math:`p_T` and :math:`q_T` are the softmax of the teacher's and the student's logits over T.
    Source: Hinton, Vinyals & Dean, 2015, arXiv 1503.02531.
    """

    weight: float
    temperature: float
    teacher: nn.Module


def distillation_loss(logits: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    r"""Return :math:`T^2\,\text{KL}(p_T \,\|\, q_T)` in nats, the mean over samples.

    The classes are dimension 1, as in `cross_entropy`; of further ones, such as pixels, it is the mean too.
    The factor makes gradients of any T as large as those of the labels.
    """
    if logits.dim() > 2:
        logits, teacher = (z.movedim(1, -1).flatten(0, -2) for z in (logits, teacher))
    student, wanted = (log_softmax(z / temperature, dim=1) for z in (logits, teacher))
    return kl_div(student, wanted, reduction="batchmean", log_target=True) * temperature**2


def read_distill(
    given: Distill | Mapping[str, float] | None, dense: nn.Module | None = None
) -> Distill | None:
    """Return ``given`` as Distill: a mapping has weight and temperature, and ``dense`` is the teacher.

    Raises:
        IsopruneError: If there are others, a number is out of range, or there is no teacher.
    """
    if given is None:
        return None
    if not isinstance(given, Distill | Mapping):
        raise IsopruneError(f"distill is {given!r}. Write for example {{'weight': 0.9, 'temperature': 4.0}}.")
    if not isinstance(given, Distill) and given.keys() != {"weight", "temperature"}:
        raise IsopruneError(
            f"distill has {', '.join(map(str, given)) or 'no key'}; it needs weight and temperature, and "
            "takes nothing else. Write for example {weight = 0.9, temperature = 4.0}."
        )
    numbers = given if isinstance(given, Mapping) else vars(given)
    weight, temperature = numbers["weight"], numbers["temperature"]
    check_distill(weight, temperature)
    if isinstance(given, Distill):
        return given
    if dense is None:
        raise IsopruneError("There is distill and no network to learn from. Give the dense one, or neither.")
    return Distill(weight, temperature, dense)
