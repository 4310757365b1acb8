"""Orthogonal convolutions: exactly, as operators, and near to the kept kernels."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from isoprune.linalg.orthogonal_convolution import nearest_orthogonal_convolution
from isoprune.methods.layers.weights import Weight, rewritten
from isoprune.pruning.pruned import Pruned
from isoprune.signals.matrices import CONVOLUTIONS, TRANSPOSED
from isoprune.signals.signals import Signals
from isoprune.types.method import method
from isoprune.types.units import DEPTH, GRAINS


@method("repair", grains=(*GRAINS, DEPTH))
def orthogonal_conv(
    pruned: Pruned,
    signals: Signals,
    *,
    generator: Generator,
    gain: int | float | None = None,
    classifier_gain: int | float | None = None,
    steps: int = 50,
) -> nn.Module:
    r"""Return a copy whose convolution *operators* are orthogonal times ``gain``, near to the kept kernels.

    `polar` makes the rows of a filter matrix orthonormal; where kernels overlap the operator's singular
    values still spread. Here the operator itself is semi-orthogonal
    (`linalg.nearest_orthogonal_convolution`: block convolution orthogonal parametrisation, its projectors
    found by descent on the distance to the kernel). What is exact where:

    - Stride 1 and circular padding: every singular value is ``gain``. Padding with zeros, or none, leaves out
      what wraps around: no singular value is above ``gain``, those that touch the border are below.
    - Stride 2 and more, filters <= channels: outputs are left out, so the operator's rows stay orthonormal
      (under circular padding); every singular value is ``gain``. With more filters than channels its columns
      are not orthonormal, and singular values lie at or below ``gain``.
    - Stride not below the kernel's reach (patches do not overlap, 1x1 kernels included): the operator is the
      filter matrix, once a patch, so its polar factor is taken: exact and nearest.
    - Groups are orthogonal each for itself; in a depthwise convolution only shifts are, so the largest weight
      stays, as ``gain`` with its sign.
    - Transposed convolutions are the adjoints of convolutions, and made orthogonal as those.
    - Linear and attention projections: as `polar`.

    A dead filter comes back alive, in a direction that the others leave free. Biases and BatchNorm stay.
    Masked filters and channels are left out; within the others, what single masked weights would get is
    dropped, and the operator is near to orthogonal only.

    Args:
        gain: Factor on every layer. None: sqrt(2) if the network has a ReLU-like nonlinearity, else 1.
        classifier_gain: Factor on the last Linear; None: ``gain``.
        steps: Of each kernel's descent; more come nearer to the kept kernel, all are orthogonal. 0: only the
            centre or another one tap of each kernel is used.

    Cost: minutes for a large network (VGG19 at full width); see `linalg.nearest_orthogonal_convolution`.
    Memory: a copy of the network; the projectors of one kernel, [n, n] each with n the larger of filters and
    channels, and twenty copies of them (L-BFGS).

    Raises:
        IsopruneError: If a weight is parametrised, holds NaN or infinity, or ``gain`` is None and
            the forward cannot be traced.
    """

    def orthogonal(weight: Weight, W: Tensor, _mask: Tensor | None) -> Tensor:
        return _nearest(weight.module, W, steps)

    return rewritten(pruned.model, orthogonal, gain=gain, classifier_gain=classifier_gain)


def _nearest(layer: nn.Module, W: Tensor, steps: int) -> Tensor:
    if not isinstance(layer, (*CONVOLUTIONS, *TRANSPOSED)):
        return nearest_orthogonal_convolution(W)
    kernel = W.reshape(len(W), -1, *layer.kernel_size)
    # The convolution of which a transposed one is the adjoint: its filters are the other's channels.
    flip = isinstance(layer, TRANSPOSED)
    kernel = kernel.transpose(0, 1) if flip else kernel
    geometry = zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
    if all(s >= d * (k - 1) + 1 for k, s, d in geometry):
        new = nearest_orthogonal_convolution(kernel.flatten(1)).reshape(kernel.shape)
    else:
        new = nearest_orthogonal_convolution(kernel, steps=steps)
    return torch.flatten(new.transpose(0, 1) if flip else new, 1)
