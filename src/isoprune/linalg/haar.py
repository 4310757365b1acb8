"""A random matrix with orthonormal rows or columns, no direction preferred."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Generator, Tensor


def haar_matrix(filters: int, fan_in: int, *, generator: Generator) -> Float[Tensor, "filters fan_in"]:
    r"""Return the corner [filters, fan_in] of a Haar distributed orthogonal matrix, in float64.

    Rows are orthonormal (columns, if ``filters > fan_in``). The full matrix of size max(filters, fan_in) is
    not made: QR of a Gaussian matrix of the corner's size, :math:`G = Q R`, with the columns of Q multiplied
    by the signs of R's diagonal, has the same distribution. Without the signs the distribution is that of the
    factorisation's sign convention, not Haar's: Mezzadri, "How to generate random matrices from the classical
    compact groups", 2007.

    Cost: a QR factorisation. It is drawn on the generator's device.
    """
    long, short = max(filters, fan_in), min(filters, fan_in)
    gaussian = torch.randn(long, short, generator=generator, device=generator.device, dtype=torch.float64)
    Q, R = torch.linalg.qr(gaussian)
    Q = Q * torch.where(R.diagonal() < 0, -1.0, 1.0).to(Q.dtype)
    return (Q if filters > fan_in else Q.mT).contiguous()
