"""Measure isometry: Jacobian singular values, per-layer gains, and a verdict in words."""

from __future__ import annotations

from isoprune.isometry.diagnosis import Diagnosis as Diagnosis
from isoprune.isometry.diagnosis import diagnose as diagnose
from isoprune.isometry.diagnosis import with_repairs as with_repairs
from isoprune.isometry.effort import Effort as Effort
from isoprune.isometry.effort import plan_effort as plan_effort
from isoprune.isometry.estimate import JsvEstimate as JsvEstimate
from isoprune.isometry.estimate import estimate_jacobian_singular_values as estimate_jacobian_singular_values
from isoprune.isometry.exact import jacobian as jacobian
from isoprune.isometry.exact import jacobian_singular_values as jacobian_singular_values
from isoprune.isometry.layers import LayerGain as LayerGain
from isoprune.isometry.layers import filter_spectrum as filter_spectrum
from isoprune.isometry.layers import layer_gains as layer_gains
from isoprune.isometry.summary import summary as summary
from isoprune.isometry.tangent_kernel import kernel_condition as kernel_condition
from isoprune.isometry.tangent_kernel import output_mean_kernel as output_mean_kernel
from isoprune.isometry.tangent_kernel import tangent_kernel as tangent_kernel
