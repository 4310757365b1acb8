"""What methods read of a network on data."""

from isoprune.signals.modes import in_eval_mode
from isoprune.signals.signals import Signals

__all__ = ["Signals", "in_eval_mode"]
