"""When a network counts as damaged or collapsed: every number of the verdict, in one place.

Set by what retraining with a tenth of the learning rate then costs: studies/thresholds.toml, mlp_7 and
lenet_5 (linear and ReLU), digits, ratios 0.1 to 0.9 by the L1 norm, 3 seeds; docs/isometry.md has the table.
Below a tenth of the dense network's mean it costs accuracy (2 points in the median from 0.03 to 0.1, 19 and
more below), above a half nothing. In between it costs nothing in the median, but up to 4 points where values
vanish too. On Fashion-MNIST (docs/results.md) 1/54 of the mean costs 0.9 points, 1/790 costs 4.7.
"""

from __future__ import annotations

# Mean singular value over the dense network's.
COLLAPSED_RATIO = 0.1
DAMAGED_RATIO = 0.5
EXPLODED_RATIO = 4.0  # noise in the gradient grows as the square of this

# Mean singular value, where there is no dense network to compare with: trained networks lie between 0.3 and
# 30.
COLLAPSED_MEAN = 0.01
DAMAGED_MEAN = 0.1
EXPLODED_MEAN = 100.0

# Fraction of singular values below 1e-3, beyond the dense network's: directions in which no gradient arrives.
COLLAPSED_BELOW_1E3 = 0.5
DAMAGED_BELOW_1E3 = 0.1

# A layer is tried if its backward gain fell under this part of the dense network's (or, without one, under
# this), and blamed if at least this share of what was lost (in logarithms) comes back with it restored.
LAYER_GAIN = 0.8
LAYER_SHARE = 0.05
LAYERS_NAMED = 3
