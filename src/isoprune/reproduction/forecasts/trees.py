"""Small trees in place of the ridge: are the numbers worth more than a line makes of them?"""

from __future__ import annotations

import numpy as np
import polars as pl

from isoprune.forecast.columns import columns, numbers_of
from isoprune.forecast.fitted import Column, squashed, unsquashed
from isoprune.forecast.fitting import Plan, affordable
from isoprune.forecast.known import DENSE
from isoprune.forecast.rows import POINTS

_SQUASH = 1.0  # trees put a network among its like, whose losses are then of one size


def by_trees(rows: pl.DataFrame, others: pl.DataFrame, plan: Plan) -> Column:
    """Return the forecast points of ``others`` by randomised trees (Geurts et al., 2006) fitted on ``rows``.

    They take the numbers that the ridge takes, and the dense network's accuracy.
    """
    from sklearn.ensemble import ExtraTreesRegressor  # loads for a second

    wanted = [*plan.base, DENSE, *affordable(rows, plan)]
    made = columns(numbers_of(rows, wanted), plan.measure_of)
    trees = ExtraTreesRegressor(200, max_depth=8, min_samples_leaf=2, random_state=0)
    trees.fit(made.matrix, squashed(rows[POINTS].to_numpy(), _SQUASH))
    return unsquashed(np.asarray(trees.predict(made.of(numbers_of(others, wanted)))), _SQUASH)
