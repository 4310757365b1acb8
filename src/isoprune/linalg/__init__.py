"""Tensors in, tensors out: filter matrices, orthonormal factors, losses of isometry."""

from __future__ import annotations

from isoprune.linalg.factors import filter_matrix as filter_matrix
from isoprune.linalg.factors import polar_factor as polar_factor
from isoprune.linalg.factors import qr_factor as qr_factor
from isoprune.linalg.givens import sparse_orthogonal as sparse_orthogonal
from isoprune.linalg.haar import haar_matrix as haar_matrix
from isoprune.linalg.isometry_loss import isometry_loss as isometry_loss
from isoprune.linalg.isometry_loss import masked_isometry as masked_isometry
from isoprune.linalg.newton_schulz import nearly_orthogonal as nearly_orthogonal
from isoprune.linalg.newton_schulz import newton_schulz_factor as newton_schulz_factor
from isoprune.linalg.orthogonal_convolution import (
    nearest_orthogonal_convolution as nearest_orthogonal_convolution,
)
