"""Small trees in place of the ridge: are the numbers worth more than a line makes of them?"""

from __future__ import annotations

import numpy as np
import polars as pl

from isoprune.forecast.columns import Costs, columns, measured_keys, numbers_of
from isoprune.forecast.fitted import Column, squashed, unsquashed
from isoprune.forecast.fitting import Plan
from isoprune.forecast.known import DENSE
from isoprune.forecast.rows import POINTS

_SQUASH = 1.0  # trees put a network among its like, whose losses are then of one size


def by_trees(rows: pl.DataFrame, others: pl.DataFrame, plan: Plan) -> Column:
    """Return the forecast points of ``others`` by randomised trees (Geurts et al., 2006) fitted on ``rows``.

    They take every number that is affordable: the cheapest measures first.
    """
    from sklearn.ensemble import ExtraTreesRegressor  # loads for a second

    costs, taken = Costs(rows), []
    for measure in sorted(set(plan.measure_of.values()), key=lambda name: costs.of([name])):
        if costs.of([*taken, measure]) <= plan.most:
            taken.append(measure)
    keys = [key for key in measured_keys(rows) if plan.measure_of.get(key) in taken]
    wanted = [*plan.base, DENSE, *keys]
    made = columns(numbers_of(rows, wanted), plan.measure_of)
    trees = ExtraTreesRegressor(200, max_depth=8, min_samples_leaf=2, random_state=0)
    trees.fit(made.matrix, squashed(rows[POINTS].to_numpy(), _SQUASH))
    return unsquashed(np.asarray(trees.predict(made.of(numbers_of(others, wanted)))), _SQUASH)
