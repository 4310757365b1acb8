"""Fisher information of a gate on each filter."""

from __future__ import annotations

from torch import Generator, Tensor, nn

from isoprune.graph import Graph
from isoprune.methods.criteria.filters import score_filters
from isoprune.methods.criteria.gradients import sensitivities
from isoprune.types import Batches, Scores


def fisher(
    model: nn.Module,
    graph: Graph,
    batches: Batches | None,
    *,
    generator: Generator,
) -> Scores:
    r"""Expected rise of loss without a filter: :math:`s_i = \frac{1}{2N} \sum_n (\sum_j W_{ij} G_{nij})^2`.

    :math:`G_n` is the gradient of sample n's loss, so the inner sum is its derivative with respect to a
    gate on the filter. Theis et al., 2018, with the gate on the filter's weights instead of its output (the
    same where a filter has no bias). Channels that several layers make get the mean over those layers.

    Cost: one backward pass per sample.
    """
    total: dict[str, Tensor] = {}
    samples = 0
    for found, _ in sensitivities(model, batches, "fisher", by_sample=True):
        samples += 1
        for name, value in score_filters(found, graph, lambda S: S.sum(1).square()).items():
            total[name] = total[name] + value if name in total else value
    return {name: value / (2 * samples) for name, value in total.items()}
