"""Convolutions that are orthogonal as operators, and the one near a given kernel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from isoprune.linalg.factors import require_finite
from isoprune.linalg.isometry_loss import descend_

# Kernels are [filters, *taps, channels] inside this file, so that matrix products act on the channels.


def nearest_orthogonal_convolution(
    kernel: Float[Tensor, "filters channels *taps"], *, steps: int = 50
) -> Float[Tensor, "filters channels *taps"]:
    r"""Return a kernel near to ``kernel`` in direction whose stride-1 circular convolution is orthogonal.

    Its operator has orthonormal rows (columns, if ``filters > channels``) on every size that the kernel fits:
    the parametrisation is exact. With :math:`n` = channels (the larger side; transposed otherwise),

    .. math:: K(z) = H \prod_j \left(I - P_j + P_j z_{d_j}\right)

    with H [filters, n] of orthonormal rows and k - 1 projectors :math:`P_j` for a dimension of k taps: block
    convolution orthogonal parametrisation. The projectors have rank n/2 and n - n/2 in turns.

    The squared distance to the kernel, at any scale, falls with the product :math:`\langle K, W \rangle`. For
    given projectors the best H is the polar factor of :math:`C = \sum_t W_t B_t^\top` (B the product), and
    the product is then C's nuclear norm, which L-BFGS raises over the spans of the projectors. It starts from
    the nearest delta-orthogonal kernel of the centre tap: there the second of two projectors completes the
    first, :math:`(I - P + P z)(P + (I - P) z) = z`. What comes back is the best of that descent, and of all
    delta-orthogonal kernels on any tap. It is a local optimum: other ranks, and orders of the dimensions, are
    not searched.

    One filter reading one channel, as in depthwise convolutions, can be orthogonal as a shift only: the tap
    of the largest weight, with its sign. With one tap it is the polar factor. A dead filter comes back alive,
    in a direction that the others leave free.

    Args:
        steps: Of L-BFGS; 0: the nearest delta-orthogonal kernel.

    Cost: about 6 filters * n^2 * (number of taps) * (number of projectors) multiplications a step.

    Source: Li et al., "Preventing gradient attenuation in Lipschitz constrained convolutional networks",
    2019 (the parametrisation); Xiao et al., 2018 (delta-orthogonal kernels).

    Raises:
        IsopruneError: If ``kernel`` holds NaN or infinity.
    """
    require_finite(kernel.flatten(1))
    if kernel.shape[0] > kernel.shape[1]:
        return _adjoint(nearest_orthogonal_convolution(_adjoint(kernel), steps=steps))
    peak = kernel.abs().max()
    W = (kernel / peak if peak > 0 else kernel).movedim(1, -1)
    best = _nearest_delta(W)
    if steps > 0 and W.shape[-1] > 1 and W[0, ..., 0].numel() > 1:
        found = _descend(W, steps)
        if (found * W).sum() > (best * W).sum():
            best = found
    return best.movedim(-1, 1).contiguous()


def _adjoint(kernel: Tensor) -> Tensor:
    return kernel.transpose(0, 1).flip(tuple(range(2, kernel.ndim)))


def _isometry(C: Tensor) -> Tensor:
    """Return the polar factor, completed where C has lower rank."""
    U, _, Vh = torch.linalg.svd(C, full_matrices=False)
    return U @ Vh


def _nearest_delta(W: Tensor) -> Tensor:
    taps = W.flatten(1, -2).transpose(0, 1) if W.ndim > 2 else W[None]
    at = int(torch.linalg.svdvals(taps).sum(1).argmax())
    kernel = torch.zeros_like(taps)
    kernel[at] = _isometry(taps[at])
    return kernel.transpose(0, 1).reshape(W.shape)


def _descend(W: Tensor, steps: int) -> Tensor:
    dims = [d for d, k in enumerate(W.shape[1:-1], start=1) for _ in range(k - 1)]
    frames = [V.clone(memory_format=torch.contiguous_format).requires_grad_() for V in _start(W)]

    def loss() -> Tensor:
        C = _peeled(W, dims, _spans(frames))
        # The derivative of the nuclear norm is the polar factor: held constant, it gives value and gradient.
        return -(_isometry(C.detach()) * C).sum()

    descend_(frames, loss, steps, tolerance_change=1e-12)
    with torch.no_grad():
        spans = _spans(frames)
        H = _isometry(_peeled(W, dims, spans))
        return _composed(H.reshape(len(H), *[1] * (W.ndim - 2), -1), dims, spans)


def _start(W: Tensor) -> list[Tensor]:
    """Return bases of the projectors of the centre tap's delta-orthogonal kernel.

    Any complementary pair makes the shift. For an orthogonal K, :math:`K(1)^\\top K'(1)` is the sum of the
    projectors of the dimension; so the first takes the leading eigenvectors of what that is for W, and the
    second the others. A projector without a partner (even kernels) has the leading ones too.
    """
    n = W.shape[-1]
    H = _isometry(W.flatten(1, -2).sum(1))
    bases = []
    for d, k in enumerate(W.shape[1:-1], start=1):
        place = torch.arange(k, dtype=W.dtype, device=W.device).view(-1, *[1] * (W.ndim - 1 - d))
        S = H.mT @ (W * place).flatten(1, -2).sum(1)
        vectors = torch.linalg.eigh(S + S.mT)[1].flip(1)
        bases += [vectors[:, : n // 2] if j % 2 == 0 else vectors[:, n // 2 :] for j in range(k - 1)]
    return bases


def _spans(frames: Sequence[Tensor]) -> list[Tensor]:
    return [torch.linalg.qr(V)[0] for V in frames]


def _composed(K: Tensor, dims: Sequence[int], spans: Sequence[Tensor]) -> Tensor:
    """Return the kernel K times the projectors' product: one tap more along its dimension for each."""
    for d, U in zip(dims, spans, strict=True):
        nothing = torch.zeros_like(K.narrow(d, 0, 1))
        stay, move = torch.cat([K, nothing], d), torch.cat([nothing, K], d)
        K = stay + ((move - stay) @ U) @ U.mT
    return K


def _peeled(W: Tensor, dims: Sequence[int], spans: Sequence[Tensor]) -> Tensor:
    """Return the sum over taps of W_t B_t^T for the projectors' product B, factor by factor from the last."""
    for d, U in zip(reversed(dims), reversed(spans), strict=True):
        size = W.shape[d] - 1
        stay, move = W.narrow(d, 0, size), W.narrow(d, 1, size)
        W = stay + ((move - stay) @ U) @ U.mT
    return W.flatten(1, -2).squeeze(1)
