"""How sharp the loss is where a network stands: the learning rate that it can bear."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isoprune.isometry.function import require_finite
from isoprune.isometry.picks import pick_output
from isoprune.isometry.trainability import differentiable
from isoprune.types import Batches, IsopruneError
from isoprune.types.seeded import seeded


def sharpness(
    model: nn.Module,
    batches: Batches,
    *,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    iterations: int = 100,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> float:
    r"""Return the largest eigenvalue (in magnitude) of the Hessian of the mean loss over ``batches``.

    Gradient descent with momentum :math:`\beta` is stable near a minimum up to the rate
    :math:`2 (1 + \beta) / \lambda` (`stable_rate`). Power iteration on Hessian-vector products, until the
    Rayleigh quotient changes by less than ``tolerance`` of itself. In eval mode; frozen parameters do not
    take part; the model and its ``.grad`` stay as they are. Lanczos' iteration (the measure
    `hessian_largest`) takes fewer products, and keeps a vector as large as the network for each.

    Cost: two backward passes over all samples an iteration; the whole graph of one batch in memory.

    Raises:
        IsopruneError: In train mode, without batches or trainable parameters, for NaN or infinity.
    """
    parts = list(batches)
    samples = sum(len(inputs) for inputs, _ in parts)
    if not samples:
        raise IsopruneError("batches is empty: there is no loss. Pass at least one (inputs, targets).")
    with differentiable(model) as (leaves, run):

        def hessian_times(v: Sequence[Tensor]) -> list[Tensor]:
            total = [torch.zeros_like(leaf) for leaf in leaves]
            for inputs, targets in parts:
                value = loss(pick_output(run(inputs), None), targets.to(leaves[0].device))
                grads = torch.autograd.grad(value, leaves, create_graph=True, materialize_grads=True)
                along = torch.stack([(g * u).sum() for g, u in zip(grads, v, strict=True)]).sum()
                # A network that is linear in all that matters has no second derivative to find.
                if along.requires_grad:
                    second = torch.autograd.grad(along, leaves, materialize_grads=True)
                    total = [t + len(inputs) / samples * s for t, s in zip(total, second, strict=True)]
            return total

        generator = seeded(seed)
        v = [torch.randn(leaf.shape, generator=generator).to(leaf) for leaf in leaves]
        eigenvalue = 0.0
        for _ in range(iterations):
            size = _norm(v)
            v = [u / size for u in v]
            Hv = hessian_times(v)
            before, eigenvalue = eigenvalue, sum(float((h * u).sum()) for h, u in zip(Hv, v, strict=True))
            require_finite(torch.tensor(eigenvalue), "The Hessian holds")
            if _norm(Hv) == 0 or abs(eigenvalue - before) <= tolerance * abs(eigenvalue):
                break
            v = Hv
    return abs(eigenvalue)


def stable_rate(sharpness: float, momentum: float = 0.9) -> float:
    r"""Return :math:`2 (1 + \beta) / \lambda`: above it, gradient descent on a quadratic diverges."""
    return 2 * (1 + momentum) / sharpness if sharpness > 0 else float("inf")


def _norm(v: Sequence[Tensor]) -> float:
    return float(torch.stack([u.double().square().sum() for u in v]).sum().sqrt())
