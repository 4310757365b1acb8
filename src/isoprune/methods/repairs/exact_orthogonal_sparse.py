"""Exact orthogonal initialisation of sparse layers by random Givens rotations (Nowak et al., 2024)."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from isoprune.linalg.givens import sparse_orthogonal
from isoprune.linalg.haar import haar_matrix
from isoprune.methods.repairs.copies import copied
from isoprune.methods.repairs.gain import gain_or_default
from isoprune.methods.repairs.weights import Weight, weights
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method


# It draws anew and does not look at the weights, permuted or not.
@method("repair", follows_order=False, source="Nowak et al., 2024")
def exact_orthogonal_sparse(
    pruned: Pruned,
    signals: Signals,
    *,
    generator: Generator,
    gain: int | float | None = None,
    density: int | float = 1.0,
) -> nn.Module:
    r"""Return a copy with random filter matrices that are sparse *and* exactly orthonormal, times ``gain``.

    A masked layer gets a new mask: as many weights as the old one kept (or a few less: less than a matrix's
    smaller side), but others, where random Givens rotations put them (`linalg.sparse_orthogonal`). So of a
    mask only the count stays, and the kept weights go. `approximate_isometry` keeps both the mask and what it
    can of the weights, at the price of isometry. The groups of a convolution share its count evenly.

    A layer without a mask is drawn at ``density``; its zeros are held by nothing and fill in training. Biases
    and BatchNorm stay.

    Args:
        gain: Factor on every layer. None: sqrt(2) if the network has a ReLU-like nonlinearity, else 1.
        density: Fraction of the weights of unmasked layers that may be other than zero; 1 draws a Haar
            distributed matrix.

    Cost: a rotation of two columns for every few weights; seconds for a layer of millions.

    Raises:
        IsopruneError: If a layer keeps too few weights for orthonormal rows (columns, where there are more
            filters than inputs): less than its smaller side; if ``density`` is not in (0, 1]; if a weight is
            parametrised; if ``gain`` is None and the forward cannot be traced.
    """
    if not 0 < density <= 1:
        raise IsopruneError(f"density is {density}; pass the fraction of weights to be kept, in (0, 1].")
    weights(pruned.model, masked=True)  # what cannot be repaired is refused before anything is copied
    repaired = copied(pruned.model)
    factor = gain_or_default(repaired, gain)
    for weight in weights(repaired, masked=True):
        W = weight.matrices
        total = int(density * W.numel()) if weight.mask is None else int(weight.mask.sum())
        drawn, patterns = [], []
        for block, matrix in enumerate(W):
            share = total * (block + 1) // len(W) - total * block // len(W)
            new, pattern = _draw(weight, matrix, share, generator=generator)
            drawn.append(factor * new.to(W))
            patterns.append(pattern)
        if weight.mask is not None:
            _write_mask_(weight, torch.stack(patterns))
        weight.write_(torch.stack(drawn))
    return repaired


def _draw(weight: Weight, W: Tensor, entries: int, *, generator: Generator) -> tuple[Tensor, Tensor]:
    if entries == W.numel():
        return haar_matrix(*W.shape, generator=generator), torch.ones_like(W, dtype=torch.bool)
    try:
        return sparse_orthogonal(W.shape[0], W.shape[1], entries, generator=generator)
    except IsopruneError as error:
        raise IsopruneError(f"{weight.name}: {error}") from None


def _write_mask_(weight: Weight, pattern: Tensor) -> None:
    """Put a pattern of filter matrices in the place of the weight's mask."""
    if weight.mask is not None:
        held = nn.Parameter(weight.mask, requires_grad=False)  # the same memory, so the module sees it
        Weight(weight.name, weight.module, held, weight.blocks).write_(pattern.to(held))
