"""Approximate isometry: masked weights as near to orthonormal as the mask lets them (Lee et al., 2020)."""

from __future__ import annotations

from torch import Generator, Tensor, nn

from isoprune.linalg.isometry_loss import masked_isometry
from isoprune.methods.layers.weights import Weight, rewritten
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types.method import method
from isoprune.types.units import DEPTH, GRAINS


@method("repair", grains=(*GRAINS, DEPTH), source="Lee et al., 2020")
def approximate_isometry(
    pruned: Pruned,
    signals: Signals,
    *,
    generator: Generator,
    gain: int | float | None = None,
    classifier_gain: int | float | None = None,
    steps: int = 200,
) -> nn.Module:
    r"""Return a copy where each masked filter matrix is ``gain`` times what is nearest to an isometry,

    .. math:: \min_W \|(M \circ W)(M \circ W)^\top - I\|_F^2,

    by descent from the kept weights; the Gram matrix is that of the smaller side. The mask M stays as it is.
    Without a mask the minimum is zero: orthonormal filters, near to those of `polar`, which has a closed form
    for them. With one it is zero only if the mask leaves room: two filters that read one common input and
    nothing else cannot be orthogonal. A dead filter stays dead. Biases and BatchNorm stay.

    Against published code: L-BFGS, kept from step to step, in place of an Adam that is made anew at every
    step (whose steps are signs, and do not end); and a loss that can reach zero on tall matrices.

    Args:
        gain: Factor on every layer. None: sqrt(2) if the network has a ReLU-like nonlinearity, else 1.
        classifier_gain: Factor on the last Linear; None: ``gain``.
        steps: Of a layer's descent, at most; it ends before at convergence.

    Cost: two or three products of the filter matrix with its transpose a step. Memory: a copy of the network;
    some twenty copies of one filter matrix (L-BFGS).

    Source: Lee et al., "A signal propagation perspective for pruning neural networks at initialization",
    2020.

    Raises:
        IsopruneError: If a weight is parametrised, or holds NaN or infinity; if ``gain`` is None and the
            forward cannot be traced.
    """

    def nearest(_: Weight, W: Tensor, mask: Tensor | None) -> Tensor:
        return masked_isometry(W, None if mask is None else mask.to(W), steps=steps)

    return rewritten(pruned.model, nearest, gain=gain, classifier_gain=classifier_gain)
