"""Which channels go, the smaller network, and the proof that it is right."""

from isoprune.pruning.costs import flops, realised
from isoprune.pruning.optimizer import shrink_optimizer_state
from isoprune.pruning.plan import make_plan
from isoprune.pruning.prune import NothingRemoved, PruneResult, prune, prune_by
from isoprune.pruning.shrink import shrink
from isoprune.pruning.verify import Verification, WrongNetwork, verify

__all__ = [
    "NothingRemoved",
    "PruneResult",
    "Verification",
    "WrongNetwork",
    "flops",
    "make_plan",
    "prune",
    "prune_by",
    "realised",
    "shrink",
    "shrink_optimizer_state",
    "verify",
]
