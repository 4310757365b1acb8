"""Tensors in, tensors out: filter matrices, orthonormal factors, spectra of convolutions."""

from __future__ import annotations

from isoprune.linalg.convolution import OperatorSpectrum, convolution_spectrum
from isoprune.linalg.factors import filter_matrix, polar_factor, qr_factor
from isoprune.linalg.haar import haar_matrix
from isoprune.linalg.newton_schulz import newton_schulz_factor

__all__ = [
    "OperatorSpectrum",
    "convolution_spectrum",
    "filter_matrix",
    "haar_matrix",
    "newton_schulz_factor",
    "polar_factor",
    "qr_factor",
]
