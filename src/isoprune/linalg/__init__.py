"""Tensors in, tensors out: filter matrices, orthonormal factors, spectra of convolutions."""

from __future__ import annotations

from isoprune.linalg.convolution import OperatorSpectrum, convolution_spectrum
from isoprune.linalg.factors import filter_matrix, polar_factor, qr_factor

__all__ = ["OperatorSpectrum", "convolution_spectrum", "filter_matrix", "polar_factor", "qr_factor"]
