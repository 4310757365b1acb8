"""Gradients of single samples: several at a time where that is faster, one after the other elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.func import grad_and_value, vmap
from torch.utils._pytree import tree_leaves, tree_map

from isoprune.signals.losses import check_targets
from isoprune.signals.products import finite_or_raise, gradient
from isoprune.signals.samples import cut

if TYPE_CHECKING:
    from isoprune.signals.signals import Signals

# On a CPU, of two threads or one, a batch of ResNet-18's gradients takes twice as long as one by one, and
# that of a small convolution half as long.
_LARGE = 1_000_000


def gradients(signals: Signals) -> Iterator[dict[str, Tensor]]:
    """Yield [samples, *weight] of every weight; the samples in order, as many at a time as fit in memory.

    Raises:
        IsopruneError: Without data, if a loss is not finite, or if a batch cannot be cut into samples.
    """
    size = sum(w.numel() * w.element_size() for w in signals.weights.values())
    fit = max(1, signals.memory // (4 * max(size, 1)))
    count = sum(w.numel() for w in signals.weights.values())
    together = fit > 1 and (signals.device.type != "cpu" or count < _LARGE)
    for batch in signals.data():
        check_targets(signals.task, batch)
        number = signals.task.samples(batch)
        start = 0
        while start < number:
            stop = min(start + fit, number) if together else start + 1
            found = _together(signals, cut(batch, start, stop, number=number)) if together else None
            if found is None:
                together, stop = False, start + 1
                one = gradient(signals, cut(batch, start, stop, number=number))
                found = {name: g[None] for name, g in one.items()}
            yield found
            start = stop


def _together(signals: Signals, batch: Any) -> dict[str, Tensor] | None:
    """Return the gradients of all samples of a batch; None where the network cannot be run that way."""
    if not all(isinstance(leaf, Tensor) for leaf in tree_leaves(batch)):
        return None

    def loss(weights: dict[str, Tensor], sample: Any) -> Tensor:
        return signals.loss(tree_map(lambda t: t[None], sample), weights)

    try:
        found, losses = vmap(grad_and_value(loss), in_dims=(None, 0), randomness="different")(
            signals.weights, batch
        )
    except Exception:  # whatever a forward raises that asks for values: one by one it says what is wrong
        return None
    finite_or_raise(losses)
    return {name: g.detach() for name, g in found.items()}


def mean(signals: Signals, total: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean over samples of ``total``, which sums over some samples' gradients."""
    sums: dict[str, Tensor] = {}
    samples = 0
    for found in gradients(signals):
        samples += len(next(iter(found.values())))
        part = total(found)
        sums = {name: sums[name] + t if sums else t for name, t in part.items()}
    return {name: t / samples for name, t in sums.items()}
