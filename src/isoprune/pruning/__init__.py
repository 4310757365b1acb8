"""Which units go, the network without them, and the proof that it is right."""

from isoprune.pruning.costs import Cost as Cost
from isoprune.pruning.costs import Costs as Costs
from isoprune.pruning.costs import flops as flops
from isoprune.pruning.discrepancy import WrongNetwork as WrongNetwork
from isoprune.pruning.optimizer import shrink_optimizer_state as shrink_optimizer_state
from isoprune.pruning.plan import make_plan as make_plan
from isoprune.pruning.prune import NothingRemoved as NothingRemoved
from isoprune.pruning.prune import prune_by as prune_by
from isoprune.pruning.pruned import Pruned as Pruned
from isoprune.pruning.shrink import shrink as shrink
from isoprune.pruning.verify import Proof as Proof
from isoprune.pruning.verify import verify as verify
