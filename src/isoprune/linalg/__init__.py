"""Tensors in, tensors out: filter matrices, orthonormal factors, losses of isometry."""

from __future__ import annotations

from isoprune.linalg.factors import filter_matrix, polar_factor, qr_factor
from isoprune.linalg.givens import sparse_orthogonal
from isoprune.linalg.haar import haar_matrix
from isoprune.linalg.isometry_loss import isometry_loss, masked_isometry
from isoprune.linalg.newton_schulz import newton_schulz_factor
from isoprune.linalg.orthogonal_convolution import nearest_orthogonal_convolution

__all__ = [
    "filter_matrix",
    "haar_matrix",
    "isometry_loss",
    "masked_isometry",
    "nearest_orthogonal_convolution",
    "newton_schulz_factor",
    "polar_factor",
    "qr_factor",
    "sparse_orthogonal",
]
