"""The one training loop, for dense networks and for retraining alike, and what is read off its history."""

from __future__ import annotations

from isoprune.training.diverged import Diverged
from isoprune.training.evaluate import evaluate
from isoprune.training.fit import fit
from isoprune.training.retrain import retrain
from isoprune.training.trainability import trainability_accuracy

__all__ = ["Diverged", "evaluate", "fit", "retrain", "trainability_accuracy"]
