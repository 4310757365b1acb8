"""Products with a Jacobian and its transpose, many vectors at once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor


def pull_back(y: Tensor, x: Tensor, cotangents: Tensor) -> Tensor:
    r"""Return :math:`J^\top u` [k, \*x.shape] for cotangents u [k, \*y.shape]: see `pull_back_to`."""
    return pull_back_to(y, [x], cotangents)[0]


def pull_back_to(y: Tensor, ends: Sequence[Tensor], cotangents: Tensor) -> list[Tensor]:
    r"""Return :math:`J^\top u` [k, \*x.shape] for each x of ``ends``, in one batched backward.

    The graph is kept. Zeros where y does not depend on x. An op that cannot be batched (a custom backward
    that looks at values, say) costs one backward for each vector instead.
    """
    if not y.requires_grad:
        return [x.new_zeros(len(cotangents), *x.shape) for x in ends]
    if len(cotangents) > 1:
        with warnings.catch_warnings():
            # "performance drop because we have not yet implemented the batching rule": slower, not wrong.
            warnings.simplefilter("ignore")
            try:
                found = torch.autograd.grad(
                    y, ends, cotangents, is_grads_batched=True, retain_graph=True, allow_unused=True
                )
                return [
                    x.new_zeros(len(cotangents), *x.shape) if g is None else g
                    for x, g in zip(ends, found, strict=True)
                ]
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                pass
    rows = [torch.autograd.grad(y, ends, u, retain_graph=True, materialize_grads=True) for u in cotangents]
    return [torch.stack(same) for same in zip(*rows, strict=True)]
