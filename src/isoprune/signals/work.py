"""What running a network takes, counted on one sample and not timed, and refused where that is too much."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from isoprune.signals.products import gradient, hessian
from isoprune.signals.samples import cut
from isoprune.types import IsopruneError

if TYPE_CHECKING:
    from isoprune.signals.signals import Signals

# Multiply-adds that a method may take: some ten minutes of one core. Counted and not timed, so that the same
# call is refused on every machine.
WORK = 1e13
_GIGA = 1e9
T = TypeVar("T")


def multiply_adds(run: Callable[[], object], *, least: float = 0.0) -> float:
    """Return about how many multiply-adds a call takes; ``least`` where torch cannot count them."""
    with FlopCounterMode(display=False) as counter:
        run()
    return max(counter.get_total_flops() / 2, float(least))


def saved_by(run: Callable[[], T], beside: frozenset[int]) -> tuple[T, list[int]]:
    """Return what a call returns, with its graph, and the bytes of each storage that the graph keeps.

    Args:
        beside: Storages that are not counted, such as those of weights, which are there anyway.
    """
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in beside:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        made = run()
    return made, list(sizes.values())


def forward_work(signals: Signals) -> float:
    """Return the multiply-adds of one sample's forward; a weight counts one at least."""
    batch, number = _sample(signals)
    inputs = signals.task.inputs_of(batch)
    with torch.no_grad():
        return multiply_adds(lambda: signals.forward(inputs), least=number * _weights(signals)) / number


def gradient_work(signals: Signals) -> float:
    """Return those of a forward and a backward of one sample; a weight counts three at least."""
    batch, number = _sample(signals)
    return multiply_adds(lambda: gradient(signals, batch), least=3 * number * _weights(signals)) / number


def _weights(signals: Signals) -> int:
    return sum(w.numel() for w in signals.weights.values() if w.dim() > 1)


def number_of_samples(signals: Signals) -> int:
    return sum(signals.task.samples(batch) for batch in signals.data())


def require_work(sentence: str, needed: float, work: float, remedy: str) -> None:
    """Refuse what takes longer than it may, before it starts.

    Args:
        sentence: What takes it, with its verb.
        remedy: What to lower, and to what.

    Raises:
        IsopruneError: If more than ``work`` multiply-adds are needed.
    """
    if needed > work:
        raise IsopruneError(
            f"{sentence} {needed:.0e} multiply-adds, more than work={work:.0e}. {remedy}, or raise work."
        )


def samples_in_memory(signals: Signals, gigabytes: float, *, second: bool = False) -> int:
    """Return of how many samples the graph fits into so many gigabytes: of the loss, or of its gradient.

    Args:
        second: Whether the graph is one of the gradient, for a second derivative.

    Raises:
        IsopruneError: If that of a single sample does not.
    """
    # Of one sample there are no statistics to normalise by.
    batch, number = _sample(signals, 2 if signals.batch_statistics else 1)
    weights = signals.leaves()
    beside = frozenset(w.untyped_storage().data_ptr() for w in weights.values())
    of = partial(hessian, signals, batch) if second else partial(signals.loss, batch, weights)
    size = sum(saved_by(of, beside)[1])
    each = max(size, 1) / number
    if each > gigabytes * _GIGA:
        what = "gradient" if second else "loss"
        raise IsopruneError(
            f"The graph of one sample's {what} takes {each / _GIGA:.2g} GB, more than "
            f"gigabytes={gigabytes:g}. Give smaller inputs, or raise gigabytes."
        )
    return math.floor(gigabytes * _GIGA / each)


def _sample(signals: Signals, most: int = 1) -> tuple[Any, int]:
    """Return the first sample (or ``most``) as a batch, and how many: the whole batch where it is not cut."""
    batch = next(iter(signals.data()))
    number = signals.task.samples(batch)
    try:
        return cut(batch, 0, min(most, number), number=number), min(most, number)
    except IsopruneError:
        return batch, number
