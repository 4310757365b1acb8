"""Polar: the nearest partial isometry to each filter matrix."""

from __future__ import annotations

from typing import Literal

from torch import Generator, nn

from isoprune.linalg import newton_schulz_factor, polar_factor
from isoprune.methods.layers.weights import rewritten
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types.method import method
from isoprune.types.units import DEPTH, GRAINS


@method("repair", grains=(*GRAINS, DEPTH), source="Fan & Hoffman, 1955")
def polar(
    pruned: Pruned,
    signals: Signals,
    *,
    generator: Generator,
    gain: int | float | None = None,
    classifier_gain: int | float | None = None,
    solver: Literal["svd", "newton_schulz"] = "svd",
) -> nn.Module:
    r"""Return a copy where each filter matrix :math:`W = U \Sigma V^\top` is ``gain`` :math:`U V^\top`.

    Of all matrices with orthonormal rows (columns, if there are more filters than inputs) it is the nearest
    to W, and to every multiple of W (Fan & Hoffman, 1955). Unlike `orthp` it treats all filters alike, so
    their order does not matter. A dead filter stays dead, and a layer of lower rank stays so. Biases and
    BatchNorm stay. Masks as in `orthp`.

    Convolutions in groups are factored group by group; rows orthonormal as a matrix are *not* an orthogonal
    convolution (`orthogonal_conv` is).

    Args:
        gain: Factor on every layer. None: sqrt(2) if the network has a ReLU-like nonlinearity, else 1.
        classifier_gain: Factor on the last Linear; None: ``gain``.
        solver: "svd" is exact, and the faster one on a CPU; "newton_schulz" needs matrix products only, to
            1e-5 in float32 (1e-12 in float64).

    Cost: an SVD of every filter matrix, or its Newton-Schulz iteration. Memory: a copy of the network; U,
    sigma and V of one filter matrix.

    Raises:
        IsopruneError: If a weight is parametrised, holds NaN or infinity; if ``gain`` is None and
            the forward cannot be traced; if Newton-Schulz cannot tell a matrix's rank.
    """
    factor = polar_factor if solver == "svd" else newton_schulz_factor
    return rewritten(pruned.model, lambda _, W, __: factor(W), gain=gain, classifier_gain=classifier_gain)
