"""When a network counts as damaged or collapsed: every number of the verdict, in one place.

Set on mlp_7 and lenet_5 (linear and ReLU, Fashion-MNIST, ratios 0 to 0.9, L1 norm), by what retraining with a
learning rate ten times too small then costs: at a hundredth of the dense network's mean singular value
about 4 points of accuracy, at a thirtieth about 1, at a half nothing beyond the noise over seeds.
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

# Fraction of singular values below 1e-3: directions in which no gradient arrives.
COLLAPSED_BELOW_1E3 = 0.5
DAMAGED_BELOW_1E3 = 0.1

# A layer is named if its backward gain fell under this part of the dense network's (or, without one, under
# this) and it carries at least this share of all that was lost (in logarithms).
LAYER_GAIN = 0.8
LAYER_SHARE = 0.05
LAYERS_NAMED = 3
