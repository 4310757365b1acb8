"""A forecast of known numbers: 5 points, less 10 for all of accuracy, less 2 for ten times the parameters."""

from __future__ import annotations

from typing import Any

from isoprune.forecast import Fitted
from isoprune.forecast.fitted import Feature


def by_hand(**changes: Any) -> Fitted:
    features = [
        Feature("log_parameters_left", "", -1.0, 0.1, -2.0, 0.0, weight=-0.2),
        Feature("accuracy", "accuracy", 0.5, 0.2, 0.0, 1.0, weight=-2.0),
    ]
    parts = {
        "rows": "0" * 64, "networks": 10, "families": ["mlp"], "data": ["digits"], "squash": None,
        "intercept": 5.0, "features": features, "intervals": {"80": (-1.0, 2.0), "95": (-3.0, 4.0)},
        "precision": [[1.0, 0.0], [0.0, 1.0]], "furthest": 9.0,
    }  # fmt: skip
    return Fitted(**{**parts, **changes})
