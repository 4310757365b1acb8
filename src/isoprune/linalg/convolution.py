"""The singular values of a convolution as the linear operator it is on images, not as a matrix of filters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from isoprune.types import IsopruneError

# An explicit matrix is taken apart up to so many multiplications (about a second); beyond it, bounds.
_EXPLICIT_WORK = 4e9


@dataclass(frozen=True)
class OperatorSpectrum:
    """Singular values, descending; if not ``exact``, ``sigma[i]`` is an upper bound of the i-th largest.

    ``how`` says in words where they come from.
    """

    sigma: Float[Tensor, "values"]
    exact: bool
    how: str


def convolution_spectrum(
    weight: Float[Tensor, "..."],
    in_size: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
) -> OperatorSpectrum:
    r"""Return the singular values of the convolution of inputs of size ``in_size`` (1 to 3 dimensions).

    With circular padding and output size ``in_size / stride`` the operator is block circulant: exact, one SVD
    of an [out, in] matrix of the kernel's Fourier transform a frequency (Sedghi, Gupta & Long, 2019). With
    stride s, the :math:`s^d` frequencies that alias on one of the coarse grid stand side by side in its
    block, over :math:`s^{d/2}`.

    Otherwise (zeros, or no padding) the explicit matrix is taken apart where it is small. Where it is large:
    it is a submatrix of the circulant one on the padded size, so each of its singular values is at most that
    one's of the same rank; these bounds are returned. Reflected and replicated padding are taken apart, or
    refused.

    A transposed convolution has the spectrum of the convolution with the same weight, from its output's size.

    Args:
        weight: [out, in / groups, *kernel]; computed in float64.
        padding: As in torch: an integer, one a dimension, "same" or "valid".

    Raises:
        IsopruneError: If sizes do not go together, or an operator too large for anything but bounds has none.
    """
    dims = weight.ndim - 2
    if dims not in (1, 2, 3) or len(in_size) != dims:
        raise IsopruneError(
            f"in_size is {tuple(in_size)} for a weight of shape {tuple(weight.shape)}; pass the "
            f"{max(dims, 0)} spatial sizes of the input, without samples and channels."
        )
    geometry = _Geometry(weight, tuple(in_size), stride, padding, dilation, padding_mode)
    W = weight.detach().double()
    blocks = W.chunk(groups)
    if geometry.circulant(geometry.in_size):
        sigma = torch.cat([_circulant(block, geometry, geometry.in_size) for block in blocks])
        return OperatorSpectrum(
            _sorted(sigma), True, "Fourier transform of the kernel, exact for circular padding"
        )
    if geometry.work(len(W) // groups, W.shape[1]) * groups <= _EXPLICIT_WORK:
        sigma = torch.cat([torch.linalg.svdvals(_matrix(block, geometry)) for block in blocks])
        return OperatorSpectrum(_sorted(sigma), True, "explicit matrix")
    if padding_mode != "zeros":
        raise IsopruneError(
            f"padding_mode = {padding_mode!r} on inputs of {tuple(in_size)}: the matrix is too large to take "
            "apart, and there is no bound. Pass a smaller in_size: the spectrum changes little with it."
        )
    rows, columns = geometry.shape(len(W), W.shape[1] * groups)
    sigma = torch.cat([_circulant(block, geometry, geometry.torus) for block in blocks])
    return OperatorSpectrum(
        _sorted(sigma)[: min(rows, columns)], False, f"upper bounds, by circular padding on {geometry.torus}"
    )


class _Geometry:
    """Sizes of a convolution, one number a dimension."""

    def __init__(self, weight, in_size, stride, padding, dilation, padding_mode):
        dims = len(in_size)
        self.in_size = in_size
        self.kernel = tuple(weight.shape[2:])
        self.stride, self.dilation = _each(stride, dims), _each(dilation, dims)
        self.reach = tuple(d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True))
        if padding == "same":
            both = tuple((r // 2, r - r // 2) for r in self.reach)
        else:
            both = tuple((p, p) for p in _each(0 if padding == "valid" else padding, dims))
        self.padding, self.padding_mode = both, padding_mode
        padded = [n + sum(p) for n, p in zip(in_size, both, strict=True)]
        self.out_size = tuple(
            (n - r - 1) // s + 1 for n, r, s in zip(padded, self.reach, self.stride, strict=True)
        )
        # The smallest torus on which nothing wraps into a valid output, and which the stride divides.
        self.torus = tuple(-(-n // s) * s for n, s in zip(padded, self.stride, strict=True))
        if min(self.out_size) < 1:
            raise IsopruneError(
                f"The kernel reaches over {self.reach} + 1 points, more than the input's {in_size} padded."
            )

    def circulant(self, size: tuple[int, ...]) -> bool:
        fits = all(o * s == n for o, s, n in zip(self.out_size, self.stride, size, strict=True))
        pointwise = all(r == 0 for r in self.reach) and all(p == (0, 0) for p in self.padding)
        return fits and (self.padding_mode == "circular" or pointwise)

    def shape(self, filters: int, channels: int) -> tuple[int, int]:
        return filters * math.prod(self.out_size), channels * math.prod(self.in_size)

    def work(self, filters: int, channels: int) -> float:
        short, long = sorted(self.shape(filters, channels))
        return float(short) ** 2 * long


def _circulant(W: Tensor, geometry: _Geometry, size: tuple[int, ...]) -> Tensor:
    """Return the singular values of the strided circular convolution on ``size``."""
    dims = len(size)
    kernel = W.new_zeros(*W.shape[:2], *size)
    for place in itertools.product(*map(range, geometry.kernel)):
        at = tuple(k * d % n for k, d, n in zip(place, geometry.dilation, size, strict=True))
        kernel[(slice(None), slice(None), *at)] += W[(slice(None), slice(None), *place)]
    transfer = torch.fft.fftn(kernel, dim=tuple(range(2, 2 + dims)))
    # Frequency f = a m + g, with g on the coarse grid of m = n / s points: split each axis into (a, g).
    for axis, (n, s) in enumerate(zip(size, geometry.stride, strict=True)):
        transfer = transfer.unflatten(2 + 2 * axis, (s, n // s))
    aliases, coarse = range(2, 2 + 2 * dims, 2), range(3, 3 + 2 * dims, 2)
    blocks = transfer.permute(*coarse, 0, 1, *aliases).reshape(
        -1, len(W), W.shape[1] * math.prod(geometry.stride)
    )
    return torch.linalg.svdvals(blocks).flatten() / math.prod(geometry.stride) ** 0.5


def _matrix(W: Tensor, geometry: _Geometry) -> Tensor:
    """Return the operator as a matrix [inputs, outputs]: the images of the unit vectors."""
    channels = W.shape[1]
    units = torch.eye(channels * math.prod(geometry.in_size), dtype=W.dtype, device=W.device)
    x = units.reshape(-1, channels, *geometry.in_size)
    pad = [p for both in reversed(geometry.padding) for p in both]
    x = F.pad(x, pad, mode="constant" if geometry.padding_mode == "zeros" else geometry.padding_mode)
    convolve = (F.conv1d, F.conv2d, F.conv3d)[len(geometry.in_size) - 1]
    return convolve(x, W, stride=geometry.stride, dilation=geometry.dilation).flatten(1)


def _each(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    return (value,) * dims if isinstance(value, int) else tuple(value)


def _sorted(sigma: Tensor) -> Tensor:
    return sigma.sort(descending=True)[0]
