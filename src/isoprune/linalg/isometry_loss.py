"""How far a matrix is from an isometry, and the descent that brings a masked one near."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from isoprune.linalg.factors import require_finite

_HISTORY = 10


def isometry_loss(W: Float[Tensor, "filters fan_in"]) -> Float[Tensor, ""]:
    r"""Return :math:`\|W W^\top - I\|_F^2`, or :math:`\|W^\top W - I\|_F^2` where there are more filters.

    It is the Gram matrix of the smaller side that can be the identity: the other one has rank below its size,
    and a penalty on it, as some published code has, cannot reach zero.
    """
    gram = W @ W.mT if W.shape[0] <= W.shape[1] else W.mT @ W
    return (gram - torch.eye(len(gram), dtype=W.dtype, device=W.device)).square().sum()


def masked_isometry(
    W: Float[Tensor, "filters fan_in"], mask: Float[Tensor, "filters fan_in"] | None, *, steps: int
) -> Float[Tensor, "filters fan_in"]:
    r"""Return a matrix near W, zero outside ``mask``, at a minimum of `isometry_loss`.

    L-BFGS with strong Wolfe line search from W at the scale of least loss, :math:`c^2 = \mathrm{tr}\, G /
    \|G\|_F^2` for the Gram matrix G. Each step is along sums of products of W with its Gram matrix, under the
    mask: a dead filter stays dead, and the order of filters does not matter.

    Args:
        mask: 0/1 a weight; None: all may be other than zero, and the minimum is zero.
        steps: At most; it ends before when the gradient vanishes or nothing moves.

    Raises:
        IsopruneError: If ``W`` holds NaN or infinity.

    Cost: 4 m^2 n multiplications an evaluation (m the smaller side), one or two evaluations a step.
    """
    require_finite(W)
    start = W.detach().clone() if mask is None else W.detach() * mask
    peak = start.abs().max()
    if peak == 0:
        return start
    start = start / peak  # so that its fourth powers stay within float32
    gram = start @ start.mT if W.shape[0] <= W.shape[1] else start.mT @ start
    start = start * (gram.trace() / gram.square().sum()).sqrt()
    eps = torch.finfo(W.dtype).eps
    V = start.clone().requires_grad_()
    descend_(
        [V],
        lambda: isometry_loss(V if mask is None else V * mask),
        steps,
        tolerance_grad=10 * eps,
        tolerance_change=eps,
    )
    found = V.detach() if mask is None else V.detach() * mask
    # A line search that ran into rounding is no reason to hand out something worse, or NaN.
    return found if bool(isometry_loss(found) <= isometry_loss(start)) else start


def descend_(
    parameters: Sequence[Tensor],
    loss: Callable[[], Tensor],
    steps: int,
    *,
    tolerance_grad: float = 1e-7,
    tolerance_change: float,
) -> None:
    """Bring a loss to a minimum near where its parameters stand: L-BFGS with strong Wolfe line search."""
    # One optimiser for the whole descent: made anew at every step, as in published code, it learns nothing.
    optimiser = torch.optim.LBFGS(
        parameters,
        max_iter=steps,
        tolerance_grad=tolerance_grad,
        tolerance_change=tolerance_change,
        history_size=_HISTORY,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    with torch.enable_grad():
        optimiser.step(closure)
