"""OrthP: orthonormal filters from the kept weights, before retraining (Wang et al., 2021)."""

from __future__ import annotations

from torch import Generator, nn

from isoprune.linalg import qr_factor
from isoprune.methods.layers.weights import rewritten
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types.method import method
from isoprune.types.units import DEPTH, GRAINS


# QR keeps the first filter's direction and bends each one to be orthogonal to those before it.
@method("repair", grains=(*GRAINS, DEPTH), follows_order=False, label="OrthP", source="Wang et al., 2021")
def orthp(
    pruned: Pruned,
    signals: Signals,
    *,
    generator: Generator,
    gain: int | float | None = None,
    classifier_gain: int | float | None = None,
) -> nn.Module:
    r"""Return a copy whose Linear and convolution weights have orthonormal filters, times ``gain``.

    Each filter matrix W becomes ``gain * qr_factor(W)``, the classifier's too; biases and BatchNorm stay. A
    linear network then has every Jacobian singular value equal to the product of the gains.

    Against the published code: a dead filter comes back alive (there sign(0) = 0 erases it), convolutions in
    groups are factored group by group (filters of different groups read different channels, so are
    orthogonal already), and transposed convolutions and attention projections take part. Rows orthonormal as
    a matrix are *not* an orthogonal convolution: where kernels overlap the operator's singular values still
    spread (`orthogonal_conv` does not leave that).

    Masks: channels and filters that a mask holds at zero are left out, so the others are as orthonormal as in
    the small network. Where single weights are masked, what QR puts there is dropped, and filters are no
    longer orthonormal: `approximate_isometry` and `exact_orthogonal_sparse` are made for such masks.

    Args:
        gain: Factor on every layer. None: sqrt(2) if the network has a ReLU-like nonlinearity, else 1 (as
            published). The network's modules are looked at first, then its forward, traced.
        classifier_gain: Factor on the last Linear (the last convolution, if there is none) in order of
            registration, which no nonlinearity follows. None: ``gain``, as published; 1 keeps isometry.

    Cost: a QR factorisation of every filter matrix. Memory: a copy of the network; Q and R of one filter
    matrix.

    Raises:
        IsopruneError: If a weight is parametrised (the repair would be undone), holds NaN or infinity, or
            ``gain`` is None and the forward cannot be traced.
    """
    return rewritten(pruned.model, lambda _, W, __: qr_factor(W), gain=gain, classifier_gain=classifier_gain)
