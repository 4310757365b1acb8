"""Delta-orthogonal: random orthogonal convolutions that read one point (Xiao et al., 2018)."""

from __future__ import annotations

import math

from torch import Generator, Tensor, nn

from isoprune.linalg import haar_matrix
from isoprune.methods.layers.weights import Weight, rewritten
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types.method import method
from isoprune.types.units import DEPTH, GRAINS


# It draws anew and does not look at the weights, so permuting them changes nothing.
@method("repair", grains=(*GRAINS, DEPTH), follows_order=False, source="Xiao et al., 2018")
def delta_orthogonal(
    pruned: Pruned, signals: Signals, *, generator: Generator, gain: int | float | None = None
) -> nn.Module:
    r"""Return a copy with random weights whose convolution *operators* are orthogonal: kept weights go.

    A convolution's kernel is zero but for its centre tap (the later of two, where the kernel is even), which
    is ``gain`` times a corner [out, in] of a Haar distributed orthogonal matrix of size max(out, in). A
    Linear or an attention projection is ``gain`` times such a corner; a convolution in groups has one a
    group. Biases and BatchNorm stay. Masked filters and channels are left out; weights that are masked one by
    one stay zero, and the corner loses them.

    With ``in <= out`` and stride 1 a layer then stretches every input by ``gain``: a linear network, under
    circular padding or padding of zeros, has every Jacobian singular value equal to the product of the gains.
    With ``in > out`` some directions are lost: a layer stretches by ``gain`` what it does not erase, and
    products of such layers are no isometries. Stride leaves out points that the centre does not read: rows of
    the operator stay orthonormal where ``out <= in``.

    Args:
        gain: Factor on every layer. None: sqrt(2) if the network has a ReLU-like nonlinearity, else 1.

    Cost: a QR factorisation of [max(out, in), min(out, in)] a layer. Memory: a copy of the network; Q and R
    of one layer in float64.

    Source: Xiao et al., "Dynamical isometry and a mean field theory of CNNs", 2018.

    Raises:
        IsopruneError: If a weight is parametrised, or ``gain`` is None and the forward cannot be
            traced.
    """

    def drawn(weight: Weight, W: Tensor, _mask: Tensor | None) -> Tensor:
        taps: tuple[int, ...] = getattr(weight.module, "kernel_size", ())
        kernel = W.new_zeros(len(W), W.shape[1] // math.prod(taps), *taps)
        corner = haar_matrix(*kernel.shape[:2], generator=generator)
        kernel[(..., *(k // 2 for k in taps))] = corner.to(W)
        return kernel.flatten(1)

    return rewritten(pruned.model, drawn, gain=gain)
