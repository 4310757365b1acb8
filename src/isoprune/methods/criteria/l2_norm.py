"""Filter L2 norm."""

from __future__ import annotations

from torch import Generator, nn

from isoprune.graph import Graph
from isoprune.methods.criteria.filters import score_filters
from isoprune.types import Batches, Scores


def l2_norm(
    model: nn.Module,
    graph: Graph,
    batches: Batches | None,
    *,
    generator: Generator,
) -> Scores:
    r"""Root mean square weight of each filter: :math:`s_i = \|W_i\|_2 / \sqrt{\text{fan-in}}`.

    Channels that several layers make (residual sums) get the mean over those layers.
    """
    return score_filters(
        dict(model.named_parameters()), graph, lambda W: W.norm(2, dim=1) / W.shape[1] ** 0.5
    )
