"""Any nn.Module -> the groups of channels that can only go together."""

from isoprune.graph.groups import Constraint, Graph
from isoprune.graph.trace import trace

__all__ = ["Constraint", "Graph", "trace"]
