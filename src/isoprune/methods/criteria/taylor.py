"""First-order Taylor expansion of the loss."""

from __future__ import annotations

from torch import Generator, Tensor, nn

from isoprune.graph import Graph
from isoprune.methods.criteria.filters import score_filters
from isoprune.methods.criteria.gradients import sensitivities
from isoprune.types import Batches, Scores


def taylor(
    model: nn.Module,
    graph: Graph,
    batches: Batches | None,
    *,
    generator: Generator,
) -> Scores:
    r"""First-order change of the loss without each filter: :math:`s_i = |\sum_j W_{ij} G_{ij}|`.

    G is the gradient of the mean loss over all of ``batches``. Channels that several layers make get the
    mean over those layers. Molchanov et al., 2019 (there squared, which orders a layer alike).
    """
    total: dict[str, Tensor] = {}
    samples = 0
    for found, number in sensitivities(model, batches, "taylor"):
        samples += number
        for name, value in found.items():
            total[name] = total[name] + value * number if name in total else value * number
    mean = {name: value / samples for name, value in total.items()}
    return score_filters(mean, graph, lambda S: S.sum(1).abs())
