"""The one training loop, for dense networks and for retraining alike, and numbers read off its history."""

from __future__ import annotations

from isoprune.training.checks import check_penalty_steps as check_penalty_steps
from isoprune.training.distill import Distill as Distill
from isoprune.training.diverged import Diverged as Diverged
from isoprune.training.evaluate import evaluate as evaluate
from isoprune.training.evaluate import trainability_accuracy as trainability_accuracy
from isoprune.training.fit import fit as fit
from isoprune.training.history import History as History
from isoprune.training.loop import PLAIN as PLAIN
from isoprune.training.loop import Loop as Loop
from isoprune.training.muon import Muon as Muon
from isoprune.training.processes import check_alone as check_alone
from isoprune.training.settings import Saving as Saving
from isoprune.training.settings import Trained as Trained
from isoprune.training.settings import Training as Training
from isoprune.training.settings import Watch as Watch
from isoprune.training.tracking import Tracking as Tracking
