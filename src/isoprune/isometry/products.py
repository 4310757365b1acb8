"""Products with a Jacobian and its transpose, many vectors at once."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor


def pull_back(y: Tensor, x: Tensor, cotangents: Tensor) -> Tensor:
    r"""Return :math:`J^\top u` [k, \*x.shape] for cotangents u [k, \*y.shape], in one batched backward.

    The graph is kept. An op that cannot be batched (a custom backward that looks at values, say) costs one
    backward for each vector instead.
    """
    if len(cotangents) > 1:
        with warnings.catch_warnings():
            # "performance drop because we have not yet implemented the batching rule": slower, not wrong.
            warnings.simplefilter("ignore")
            try:
                (g,) = torch.autograd.grad(y, x, cotangents, is_grads_batched=True, retain_graph=True)
                return g
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                pass
    rows = [torch.autograd.grad(y, x, u, retain_graph=True)[0] for u in cotangents]
    return torch.stack(rows)
