"""Batches in which each sample is a mixture of two: inputs beside those that there are.

Samples, each a batch of one, are joined, and mixed where all that they hold is of finite floats: halfway
between two ids, lengths or masks there is no input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from isoprune.signals.samples import joined


def blended(samples: Sequence[Any]) -> Any:
    r"""Return :math:`\lambda x + (1 - \lambda) x'`, :math:`\lambda` uniform on [0, 1] for each sample.

    Source: Zhang et al., 2018 (mixup).
    """
    own = torch.rand(len(samples))

    def mixed(x: Tensor, other: Tensor) -> Tensor:
        return torch.lerp(other, x, own.to(x).view(-1, *[1] * (x.dim() - 1)))

    return _mixed(samples, mixed, dims=1)


def patched(samples: Sequence[Any]) -> Any:
    """Return samples with a box of another one in each, at the same place in all tensors that a sample holds.

    The box lies in the positions, the dimensions after samples and channels; its part of them is uniform on
    [0, 1], and its sides are in the proportion of theirs. What has no positions is not mixed. At a position a
    channel has the values that it has in the data, which in a blend it has not: a BatchNorm can be trained on
    it.

    Source: Yun et al., 2019 (CutMix).
    """
    part = torch.rand(len(samples))
    corner = torch.rand(64, len(samples))  # a tensor has 64 dimensions at most

    def mixed(x: Tensor, other: Tensor) -> Tensor:
        side = part.pow(1 / (x.dim() - 2))
        box = torch.ones(len(x), *[1] * (x.dim() - 1), dtype=torch.bool)
        for d in range(2, x.dim()):
            start = (corner[d] * (1 - side))[:, None]
            middle = (torch.arange(x.shape[d]) + 0.5) / x.shape[d]
            inside = (start < middle) & (middle < start + side[:, None])
            box = box & inside.view(-1, *(x.shape[d] if i == d else 1 for i in range(1, x.dim())))
        return torch.where(box.to(x.device), other, x)

    return _mixed(samples, mixed, dims=3)


def _mixed(samples: Sequence[Any], mixed: Callable[[Tensor, Tensor], Tensor], *, dims: int) -> Any:
    """Return samples as one batch, mixed with others of it if all that they hold are floats of such dims.

    Floats with an infinity are a mask that is added; minus infinity mixed with itself would be NaN.
    """
    batch = joined(samples)
    fields = [part for part in tree_leaves(batch) if isinstance(part, Tensor)]

    def can_be(field: Tensor) -> bool:
        floats = field.is_floating_point() and bool(field.isfinite().all())
        return floats and field.dim() >= dims and len(field) == len(samples)

    if not all(map(can_be, fields)):
        return batch
    other = torch.randperm(len(samples))
    return tree_map_only(Tensor, lambda x: mixed(x, x[other]), batch)
