"""Which units go, the network without them, and the proof that it is right."""

from isoprune.pruning.costs import Cost, Costs, flops
from isoprune.pruning.discrepancy import WrongNetwork
from isoprune.pruning.optimizer import shrink_optimizer_state
from isoprune.pruning.plan import make_plan
from isoprune.pruning.prune import NothingRemoved, prune_by
from isoprune.pruning.pruned import Pruned
from isoprune.pruning.shrink import shrink
from isoprune.pruning.verify import Proof, verify

__all__ = [
    "Cost",
    "Costs",
    "NothingRemoved",
    "Proof",
    "Pruned",
    "WrongNetwork",
    "flops",
    "make_plan",
    "prune_by",
    "shrink",
    "shrink_optimizer_state",
    "verify",
]
