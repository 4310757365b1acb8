"""The forecast: from what is measured right after pruning to the accuracy after retraining."""

from isoprune.forecast.fitted import FITTED as FITTED
from isoprune.forecast.fitted import Fitted as Fitted
from isoprune.forecast.fitted import Judged as Judged
from isoprune.forecast.fitted import read_fitted as read_fitted
from isoprune.forecast.fitted import write_fitted as write_fitted
from isoprune.forecast.forecast import Forecast as Forecast
from isoprune.forecast.forecast import Move as Move
from isoprune.forecast.forecast import forecast as forecast
from isoprune.forecast.forecast import no_forecast as no_forecast
