"""Measure isometry: Jacobian singular values, per-layer gains, and a verdict in words."""

from __future__ import annotations

from isoprune.isometry.diagnosis import Diagnosis, diagnose, with_repairs
from isoprune.isometry.effort import Effort, plan_effort
from isoprune.isometry.estimate import JsvEstimate, estimate_jacobian_singular_values
from isoprune.isometry.exact import jacobian, jacobian_singular_values
from isoprune.isometry.layers import LayerGain, filter_spectrum, layer_gains
from isoprune.isometry.summary import summary
from isoprune.isometry.trainability import kernel_condition, output_mean_kernel, tangent_kernel

__all__ = [
    "Diagnosis",
    "Effort",
    "JsvEstimate",
    "LayerGain",
    "diagnose",
    "estimate_jacobian_singular_values",
    "filter_spectrum",
    "jacobian",
    "jacobian_singular_values",
    "kernel_condition",
    "layer_gains",
    "output_mean_kernel",
    "plan_effort",
    "summary",
    "tangent_kernel",
    "with_repairs",
]
