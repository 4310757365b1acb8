"""The Jacobians of some samples as linear operators: J v and J^T u, for blocks of vectors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from isoprune.isometry.constant_ops import ConstantOps
from isoprune.isometry.function import SampleFunction
from isoprune.isometry.krylov import Product
from isoprune.types import IsopruneError


@dataclass(frozen=True)
class JacobianOperator:
    """``push`` maps into the smaller of the two spaces, ``pull`` into the larger; [n, size, k] each."""

    push: Product
    pull: Product


@contextlib.contextmanager
def jacobian_operator(f: SampleFunction, rows: Tensor, block: int) -> Iterator[JacobianOperator]:
    """Yield the operator of the samples ``rows``; ``block`` vectors of each go through the network together.

    J^T u is a backward. J v is the backward of that one, in which u is the variable: exact, twice as dear as
    must be in torch, and not with `ConstantOps`; forward mode would recompute the forward every time.
    """
    n, repeated = len(rows), rows.repeat_interleave(block)
    x = f.leaf(repeated)
    with ConstantOps():
        y = f(x, repeated)
    u = torch.zeros_like(y, requires_grad=True)
    try:
        (g,) = torch.autograd.grad(y, x, u, create_graph=True)
    except RuntimeError as error:
        raise _no_second_derivative(error) from error

    def transposed(vectors: Tensor) -> Tensor:
        return _blocks(
            lambda u: torch.autograd.grad(y, x, u, retain_graph=True)[0], vectors, n, block, y.shape[1:]
        )

    def plain(vectors: Tensor) -> Tensor:
        if not g.requires_grad:  # the Jacobian is zero: every path is cut
            return vectors.new_zeros(n, y.shape[1], vectors.shape[2])
        try:
            return _blocks(
                lambda v: torch.autograd.grad(g, u, v, retain_graph=True)[0], vectors, n, block, x.shape[1:]
            )
        except RuntimeError as error:
            raise _no_second_derivative(error) from error

    wide = y.shape[1] <= x[0].numel()
    yield JacobianOperator(plain, transposed) if wide else JacobianOperator(transposed, plain)


def _blocks(product, vectors: Tensor, n: int, block: int, shape: torch.Size) -> Tensor:
    """Apply ``product`` to vectors [n, size, k], ``block`` of each sample at a time."""
    done = []
    for part in vectors.split(block, dim=2):
        k = part.shape[2]
        padded = torch.nn.functional.pad(part, (0, block - k)).mT.reshape(n * block, *shape)
        done.append(product(padded).reshape(n, block, -1)[:, :k].mT)
    return torch.cat(done, dim=2)


def _no_second_derivative(error: RuntimeError) -> IsopruneError:
    return IsopruneError(
        "J v needs second derivatives, which an operation of this network has none of "
        f"({str(error).splitlines()[0]}). Use jacobian_singular_values, which needs none."
    )
