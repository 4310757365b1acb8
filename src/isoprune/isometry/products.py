"""Products with a Jacobian and its transpose, many vectors at once."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor


def pull_back(y: Tensor, x: Tensor, cotangents: Tensor) -> Tensor:
    r"""Return :math:`J^\top u` [k, \*x.shape] for cotangents u [k, \*y.shape], in one batched backward.

    The graph is kept. Zeros where y does not depend on x. An op that cannot be batched (a custom backward
    that looks at values, say) costs one backward for each vector instead.
    """
    if not y.requires_grad:
        return x.new_zeros(len(cotangents), *x.shape)
    if len(cotangents) > 1:
        with warnings.catch_warnings():
            # "performance drop because we have not yet implemented the batching rule": slower, not wrong.
            warnings.simplefilter("ignore")
            try:
                (g,) = torch.autograd.grad(
                    y, x, cotangents, is_grads_batched=True, retain_graph=True, allow_unused=True
                )
                return x.new_zeros(len(cotangents), *x.shape) if g is None else g
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                pass
    rows = [torch.autograd.grad(y, x, u, retain_graph=True, materialize_grads=True)[0] for u in cotangents]
    return torch.stack(rows)
