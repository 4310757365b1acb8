"""The forecast: from what is measured right after pruning to the accuracy after retraining."""

from isoprune.forecast.fitted import FITTED, Fitted, Judged, read_fitted, write_fitted
from isoprune.forecast.forecast import Forecast, Move, forecast, no_forecast

__all__ = [
    "FITTED",
    "Fitted",
    "Forecast",
    "Judged",
    "Move",
    "forecast",
    "no_forecast",
    "read_fitted",
    "write_fitted",
]
