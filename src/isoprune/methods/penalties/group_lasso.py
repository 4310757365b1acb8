"""Structured sparsity learning: the norms of groups of weights, so that whole groups become zero."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from isoprune.methods.penalties.penalty import Penalty
from isoprune.types import IsopruneError, Plan
from isoprune.types.errors import pick
from isoprune.types.method import method

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Weight [filters, inputs, taps] -> one row a group.
_GROUPS: dict[str, Callable[[Tensor], Tensor]] = {
    "filters": lambda W: W.flatten(1),
    "channels": lambda W: W.transpose(0, 1).flatten(1),
    "shapes": lambda W: W.flatten(1).T,
    "depth": lambda W: W.flatten()[None],
}


@method("penalty", label="SSL", source="Wen, Wu, Wang, Chen & Li, NeurIPS 2016, arXiv 1608.03665")
def group_lasso(
    model: nn.Module, plan: Plan, *, over: str = "filters", strength: float = 1e-4, only: str = "*"
) -> Penalty:
    r"""Press groups of weights to zero as one: :math:`\lambda \sum_l \sum_g \|W_l^{(g)}\|_2`.

    A group is a filter, all that reads one input channel, one position of all filters ("shapes": a column of
    the filter matrix), or a whole layer ("depth"). At zero its gradient is zero: the smallest subgradient.
    What has become small then goes by ``l2_norm`` at that grain.

    Args:
        over: "filters", "channels", "shapes" or "depth".
        strength: lambda; theirs lie around 1e-4 to 1e-3, by network.
        only: Pattern of the names of layers. Depth: only layers that a path leads around.

    Cost: a pass over the weights a step. Memory: a norm a group.
    """
    groups = pick(_GROUPS, over, "kind of group")
    if not strength > 0:
        raise IsopruneError(f"strength is {strength}. Give a number above 0, or leave the penalty out.")
    layers = [m for name, m in model.named_modules() if isinstance(m, _LAYERS) and fnmatchcase(name, only)]
    if not layers:
        raise IsopruneError(f"{type(model).__name__} has no Linear layer or convolution called {only!r}.")

    def loss(_: int) -> Tensor:
        # vector_norm has the gradient zero at zero, a square root has none.
        norms = [torch.linalg.vector_norm(groups(m.weight), dim=1).sum() for m in layers]
        return strength * torch.stack(norms).sum()

    return Penalty(loss)
