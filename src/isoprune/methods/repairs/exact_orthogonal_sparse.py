"""Exact orthogonal initialisation of sparse layers by random Givens rotations (Nowak et al., 2024)."""

from __future__ import annotations

from torch import Generator, Tensor, nn

from isoprune.linalg.givens import sparse_orthogonal
from isoprune.linalg.haar import haar_matrix
from isoprune.methods.layers.weights import Weight, rewritten
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method
from isoprune.types.units import DEPTH, GRAINS


# It draws anew and does not look at the weights, permuted or not.
@method("repair", grains=(*GRAINS, DEPTH), follows_order=False, source="Nowak et al., 2024")
def exact_orthogonal_sparse(
    pruned: Pruned,
    signals: Signals,
    *,
    generator: Generator,
    gain: int | float | None = None,
    density: int | float = 1.0,
) -> nn.Module:
    r"""Return a copy with random filter matrices that are sparse *and* exactly orthonormal, times ``gain``.

    The kept weights go. In a masked layer random Givens rotations (`linalg.sparse_orthogonal`) fill what the
    mask leaves as far as they can without leaving it; the rest of what it leaves is zero at first, and can
    grow. (The published method chooses the mask; here it is the plan's, and stays.) `approximate_isometry`
    keeps what it can of the weights, at the price of isometry.

    A layer without a mask is drawn at ``density``; its zeros are held by nothing and fill in training. Biases
    and BatchNorm stay.

    Args:
        gain: Factor on every layer. None: sqrt(2) if the network has a ReLU-like nonlinearity, else 1.
        density: Fraction of the weights of unmasked layers that may be other than zero; 1 draws a Haar
            distributed matrix.

    Cost: a rotation of two columns for every few weights; seconds for a layer of millions. Memory: a copy of
    the network; one filter matrix in float64, and its mask.

    Raises:
        IsopruneError: If a layer's mask leaves no room for orthonormal rows (columns, where there are more
            filters than inputs) of the filters and channels of which it leaves something; if ``density`` is
            not in (0, 1] or too low for that; if a weight is parametrised; if ``gain`` is None and the
            forward cannot be traced.
    """
    if not 0 < density <= 1:
        raise IsopruneError(f"density is {density}; pass the fraction of weights to be kept, in (0, 1].")
    drawn: dict[str, int] = {}  # filter matrices of a layer so far

    def draw(weight: Weight, W: Tensor, mask: Tensor | None) -> Tensor:
        filters, fan_in = W.shape
        if mask is not None:
            new, _ = sparse_orthogonal(filters, fan_in, int(mask.sum()), generator=generator, within=mask)
            return new.to(W)
        # The groups of a convolution share the count evenly.
        block, total = drawn.get(weight.name, 0), int(density * W.numel() * weight.blocks)
        drawn[weight.name] = block + 1
        entries = total * (block + 1) // weight.blocks - total * block // weight.blocks
        if density == 1:
            return haar_matrix(*W.shape, generator=generator).to(W)
        return sparse_orthogonal(filters, fan_in, entries, generator=generator)[0].to(W)

    return rewritten(pruned.model, draw, gain=gain)
