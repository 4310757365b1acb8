"""Measure isometry: Jacobian singular values, per-layer gains, and a verdict in words."""

from __future__ import annotations

from isoprune.isometry.diagnosis import Diagnosis, diagnose, with_repairs
from isoprune.isometry.effort import Effort, plan_effort
from isoprune.isometry.estimate import JsvEstimate, estimate_jacobian_singular_values
from isoprune.isometry.exact import jacobian, jacobian_singular_values
from isoprune.isometry.layers import LayerGain, layer_gains
from isoprune.isometry.sharpness import sharpness, stable_rate
from isoprune.isometry.spectra import LayerSpectrum, filter_spectrum, layer_spectra
from isoprune.isometry.summary import summary
from isoprune.isometry.trainability import (
    gradient_flow,
    kernel_condition,
    output_mean_kernel,
    tangent_condition,
    tangent_kernel,
)

__all__ = [
    "Diagnosis",
    "Effort",
    "JsvEstimate",
    "LayerGain",
    "LayerSpectrum",
    "diagnose",
    "estimate_jacobian_singular_values",
    "filter_spectrum",
    "gradient_flow",
    "jacobian",
    "jacobian_singular_values",
    "kernel_condition",
    "layer_gains",
    "layer_spectra",
    "output_mean_kernel",
    "plan_effort",
    "sharpness",
    "stable_rate",
    "summary",
    "tangent_condition",
    "tangent_kernel",
    "with_repairs",
]
