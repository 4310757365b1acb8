"""Linear mode connectivity: the error along the straight line between two networks, and its barrier.

Frankle, Dziugaite, Roy & Carbin, Linear mode connectivity and the lottery ticket hypothesis, ICML 2020.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.methods.repairs.batchnorm import reestimate_
from isoprune.signals import Signals
from isoprune.training import evaluate
from isoprune.training.source import data_of
from isoprune.types import CLASSIFICATION, Data, IsopruneError, Network, Splits, Task, module_of
from isoprune.types.task import task_with
from isoprune.verbs.retrain import retrain

STABLE = 0.02  # the source's bound: below it, two copies are in one linearly connected minimum
_CHUNK = 256


@dataclass(frozen=True)
class LinearPath:
    """The error on the straight line from one network (at 0) to another (at 1).

    ``metric`` is what the task judges by; an error is 1 minus it, or a loss as it is (``loss``).
    """

    metric: str
    places: tuple[float, ...]
    errors: tuple[float, ...]
    loss: bool = False

    @property
    def barrier(self) -> float:
        """The largest error on the line minus the mean of both ends: the source's instability."""
        return max(self.errors) - (self.errors[0] + self.errors[-1]) / 2

    @property
    def above_line(self) -> float:
        """How far the error is above the line between both ends' errors, at most; 0 of a convex loss.

        Entezari, Sedghi, Saukh & Neyshabur, ICLR 2022, arXiv 2110.06296.
        """
        a, b = self.errors[0], self.errors[-1]
        return max(e - ((1 - t) * a + t * b) for t, e in zip(self.places, self.errors, strict=True))

    @property
    def stable(self) -> bool:
        """Whether the barrier is below `STABLE`, as the source calls it; of errors alone, not of losses."""
        return self.barrier < STABLE

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON: what `isoprune.reporting.error_paths` draws."""
        rows = [{"place": t, "error": e} for t, e in zip(self.places, self.errors, strict=True)]
        return {"metric": self.metric, "loss": self.loss, "barrier": self.barrier, "rows": rows}


def error_path(
    first: Network,
    second: Network,
    data: Any,
    *,
    task: Task = CLASSIFICATION,
    loss: Callable[[Any, Any], Tensor] | None = None,
    points: int = 11,
    batches: Iterable[Any] | None = None,
    samples: int = 1024,
) -> LinearPath:
    r"""Return the error of :math:`(1 - t) W_1 + t W_2` for ``points`` t from 0 to 1.

    Args:
        first, second: Of one shape, with the same masks.
        data: What is evaluated on, as in `retrain`; of `Splits` or `Data` the validation part.
        batches: Training data. With it BatchNorm's statistics between the ends are those of ``samples`` of
            its inputs; without, they lie on the line too.

    Cost: ``points`` evaluations.

    Raises:
        IsopruneError: If the two have other tensors or masks.
    """
    if points < 2:
        raise IsopruneError(f"points is {points}. Give 2 or more: both ends are among them.")
    task, judge = task_with(task, loss), data.validation if isinstance(data, Data | Splits) else data
    _require_judge(judge)
    name, higher = task.judged_by
    between = _line(module_of(first), module_of(second))
    seen = None if batches is None else list(Signals(first, batches, task).chunks(samples, chunk=_CHUNK))
    places = torch.linspace(0, 1, points, dtype=torch.float64).tolist()
    errors = []
    for place in places:
        model = between(place)
        if seen is not None and 0 < place < 1:
            reestimate_(model, seen)
        value = evaluate(model, judge, task=task)[name]
        errors.append(1 - value if higher else value)
    return LinearPath(name, tuple(places), tuple(errors), loss=not higher)


def instability(
    network: Network,
    data: Data | Splits | None = None,
    *,
    train: Any = None,
    validation: Any = None,
    task: Task = CLASSIFICATION,
    loss: Callable[[Any, Any], Tensor] | None = None,
    seeds: Sequence[int] = (0, 1),
    points: int = 11,
    batches: Iterable[Any] | None = None,
    **training: Any,
) -> LinearPath:
    """Return the path between two copies of a network that see the same data in other orders.

    A network is stable to SGD's noise where its two copies end in one minimum: ``path.stable``. Asked of the
    dense network after k steps, it says from which k on a ticket can be rewound to.

    Args:
        network: Both copies' start; a `Pruned` is trained under its masks.
        data, train, validation, task, loss: As in `retrain`.
        seeds: Of both trainings.
        points, batches: As in `error_path`.
        training: Further arguments of `retrain`: ``epochs``, ``lr`` (a number), ``schedule``, ...
    """
    if len(seeds) != 2 or seeds[0] == seeds[1]:
        raise IsopruneError(f"seeds is {list(seeds)}. Give two different ones: each makes a copy.")
    if training.get("lr", "auto") == "auto":
        raise IsopruneError("lr is 'auto', which may differ from copy to copy. Give a number, see advise.")
    given = data_of(data, train, validation)
    _require_judge(given.validation)
    ends = [retrain(network, given, task=task, loss=loss, seed=seed, **training) for seed in seeds]
    return error_path(ends[0], ends[1], given, task=task, loss=loss, points=points, batches=batches)


def _require_judge(judge: Any) -> None:
    if judge is None:
        raise IsopruneError("There are no validation data to take the error on. Give validation=loader.")


def _line(first: nn.Module, second: nn.Module) -> Callable[[float], nn.Module]:
    """Return t -> the network between two, in eval mode."""
    a, b = first.state_dict(), second.state_dict()
    shapes = [{name: tuple(t.shape) for name, t in state.items()} for state in (a, b)]
    if shapes[0] != shapes[1]:
        name = next(n for n in [*a, *b] if shapes[0].get(n) != shapes[1].get(n))
        raise IsopruneError(
            f"The two networks differ in {name}: no straight line joins them. Give two of one shape."
        )
    for name, tensor in a.items():
        if tensor.dtype == torch.bool and not torch.equal(tensor, b[name].to(tensor.device)):
            raise IsopruneError(f"The two networks differ in the mask {name}. Give two with the same masks.")
    model = copy.deepcopy(first).eval()

    @torch.no_grad()
    def at(place: float) -> nn.Module:
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() or tensor.is_complex():
                tensor.copy_((1 - place) * a[name] + place * b[name].to(tensor.device))
        return model

    return at
