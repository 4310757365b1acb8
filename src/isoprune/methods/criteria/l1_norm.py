"""Filter L1 norm."""

from __future__ import annotations

from torch import Generator, nn

from isoprune.graph import Graph
from isoprune.methods.criteria.filters import score_filters
from isoprune.types import Batches, Scores


def l1_norm(
    model: nn.Module,
    graph: Graph,
    batches: Batches | None,
    *,
    generator: Generator,
) -> Scores:
    r"""Mean absolute weight of each filter: :math:`s_i = \frac{1}{\text{fan-in}} \sum_j |W_{ij}|`.

    Channels that several layers make (residual sums) get the mean over those layers. Li et al., 2017;
    mean instead of sum as in the paper's code, which orders the filters of a layer alike.
    """
    return score_filters(dict(model.named_parameters()), graph, lambda W: W.norm(1, dim=1) / W.shape[1])
