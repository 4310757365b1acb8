"""The one training loop, for dense networks and for retraining alike, and numbers read off its history."""

from __future__ import annotations

from isoprune.training.checks import check_penalty_steps
from isoprune.training.distill import Distill
from isoprune.training.diverged import Diverged
from isoprune.training.evaluate import evaluate, trainability_accuracy
from isoprune.training.fit import fit
from isoprune.training.history import History
from isoprune.training.loop import PLAIN, Loop
from isoprune.training.processes import check_alone
from isoprune.training.settings import Saving, Trained, Training, Watch
from isoprune.training.tracking import Tracking

__all__ = [
    "PLAIN",
    "Distill",
    "Diverged",
    "History",
    "Loop",
    "Saving",
    "Tracking",
    "Trained",
    "Training",
    "Watch",
    "check_alone",
    "check_penalty_steps",
    "evaluate",
    "fit",
    "trainability_accuracy",
]
