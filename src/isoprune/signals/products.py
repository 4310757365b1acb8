"""Gradients and products with the curvature of the mean loss, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from isoprune.signals.losses import check_targets
from isoprune.types import IsopruneError

if TYPE_CHECKING:
    from isoprune.signals.signals import Signals, Tensors


def mean(signals: Signals, of: Callable[[Signals, Any], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean over all samples of a function of batches that is a mean over its samples."""
    return _mean((signals.task.samples(batch), of(signals, batch)) for batch in _checked(signals))


def many_hessian(signals: Signals) -> Callable[[Tensors], dict[str, Tensor]]:
    """Return v -> the Hessian of the mean loss times v; it keeps the graphs of all batches."""
    kept = [(signals.task.samples(batch), hessian(signals, batch)) for batch in _checked(signals)]
    return lambda vector: _mean((number, times(vector)) for number, times in kept)


def _checked(signals: Signals) -> Iterator[Any]:
    for batch in signals.data():
        check_targets(signals.task, batch)
        yield batch


def _mean(parts: Iterable[tuple[int, dict[str, Tensor]]]) -> dict[str, Tensor]:
    """Return the mean over samples of means over some of them, each with their number."""
    total: dict[str, Tensor] = {}
    samples = 0
    for number, found in parts:
        total = {name: total[name] + t * number if total else t * number for name, t in found.items()}
        samples += number
    return {name: t / samples for name, t in total.items()}


def gradient(signals: Signals, batch: Any) -> dict[str, Tensor]:
    """Return the gradient of a batch's mean loss.

    Raises:
        IsopruneError: If the loss is not finite.
    """
    weights = signals.leaves()
    return _named(weights, _slopes(_finite(signals.loss(batch, weights)), list(weights.values())))


def hessian(signals: Signals, batch: Any) -> Callable[[Tensors], dict[str, Tensor]]:
    """Return v -> the Hessian of a batch's mean loss times v; it keeps the graph of the gradient."""
    weights = signals.leaves()
    leaves = list(weights.values())
    with sdpa_kernel(SDPBackend.MATH):  # the fused attentions have no second derivative
        slopes = _slopes(_finite(signals.loss(batch, weights)), leaves, twice=True)

    def times(vector: Tensors) -> dict[str, Tensor]:
        with sdpa_kernel(SDPBackend.MATH):
            return _named(weights, _slopes(_along(slopes, weights, vector), leaves))

    return times


def require_finite(signals: Signals) -> None:
    """Raise unless the loss of every batch is finite."""
    for batch in _checked(signals):
        with torch.no_grad():
            _finite(signals.loss(batch, signals.weights))


def finite_or_raise(losses: Tensor) -> None:
    """Raise unless every loss is finite."""
    bad = losses[~torch.isfinite(losses)].flatten()
    if len(bad):
        raise IsopruneError(
            f"The loss on the data is {bad[0].item()}, so its gradients say nothing. "
            "Training may have diverged: prune an earlier checkpoint."
        )


def _finite(loss: Tensor) -> Tensor:
    finite_or_raise(loss.detach())
    return loss


def _slopes(of: Tensor, by: list[Tensor], *, twice: bool = False) -> list[Tensor]:
    """Return the gradient, zero where nothing depends on a tensor."""
    if not of.requires_grad:
        return [torch.zeros_like(t) for t in by]
    found = torch.autograd.grad(of, by, create_graph=twice, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(by, found, strict=True)]


def _along(slopes: list[Tensor], weights: Tensors, vector: Tensors) -> Tensor:
    """Return the product of slopes with the vector; weights that it does not name are zero in it."""
    named = zip(weights, slopes, strict=True)
    return torch.stack([(g * vector[name]).sum() for name, g in named if name in vector]).sum()


def _named(weights: Tensors, tensors: list[Tensor]) -> dict[str, Tensor]:
    return {name: g.detach() for name, g in zip(weights, tensors, strict=True)}
