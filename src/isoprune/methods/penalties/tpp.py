"""Trainability-preserving pruning: decorrelate what goes from what stays, and let it fade."""

from __future__ import annotations

from torch import Tensor, nn

from isoprune.graph import Graph
from isoprune.methods.penalties.growth import Growth
from isoprune.methods.penalties.layers import UnitParameter, layers_of
from isoprune.methods.penalties.penalty import Penalty
from isoprune.types import IsopruneError, Plan
from isoprune.types.method import method


@method(
    "penalty",
    "plan",
    removes=True,
    grows=(("growth", "interval", "ceiling"),),
    grains=("channel", "head", "filter"),
    label="TPP",
    source="Wang & Fu, ICLR 2023, arXiv 2207.12534",
)
def tpp(
    model: nn.Module,
    plan: Plan,
    *,
    graph: Graph,
    growth: float = 1e-4,
    interval: int = 10,
    ceiling: float = 1.0,
    stabilise: int = 10_000,
    gram: float = 1000.0,
    zero_every: int = 100,
) -> Penalty:
    r"""Push out the channels of ``plan`` without bending the kept ones: trainability-preserving pruning.

    With strength :math:`r_t = \min(c, \delta \lfloor t / \tau \rfloor)`, P the rows that go of a layer's
    filter matrix W, and T the Gram matrix :math:`G = W W^\top`, held constant, rows and columns of P zero:

    .. math:: 1000\, r_t \sum_l \mathrm{mean}\,(G - T)^2 + \frac{r_t}{2} \sum_l \big(\|W_P\|^2 + \|b_P\|^2 +
        \|\gamma_P\|^2 + \|\beta_P\|^2\big)

    Products of pruned and kept filters go to zero, those of kept ones are free. When the growth is over, in
    the order of the layers and one every ``zero_every`` steps, what goes is held at zero.

    Filters of a convolution in groups that read different inputs are orthogonal as rows of its operator,
    whatever their weights: G is block-diagonal there, of a depthwise convolution its diagonal alone is left.

    Constants are those of the public code for CIFAR (ImageNet: interval 5, stabilise 40,000). The bias and
    BatchNorm terms are their growing L2, written as a loss.

    Args:
        growth, interval, ceiling: delta, tau and c.
        stabilise: Steps after the growth.
        gram: Weight of the Gram term, times the strength.

    Cost: a product of W's n filters with the pruned ones per layer and step, n * |P| * fan_in. Memory: a Gram
    matrix [filters, filters] of every layer.

    Raises:
        IsopruneError: For a plan whose units are not whole filters.
    """
    if plan and plan.grain not in ("channel", "head", "filter"):
        raise IsopruneError(
            f"tpp pushes out whole filters, and the plan is of {plan.grain}s. Take greg_1 for them."
        )
    grows = Growth(growth, interval, ceiling)
    layers = layers_of(model, graph, plan)
    # Which rows go does not change: found once.
    weights = [(part, part.where(layers.goes).flatten()) for part in layers.weights]
    along = [(part, part.where(layers.goes).flatten()) for parts in layers.along for part in parts]

    def loss(step: int) -> Tensor:
        correlation = layers.total([_decorrelation(part, mask) for part, mask in weights])
        fading = layers.total([part.matrix[mask].square().sum() for part, mask in (*weights, *along)])
        return grows.at(step) * (gram * correlation + fading / 2)

    def after(step: int, _: float) -> None:
        done = (step + 1 - grows.steps) // zero_every
        for weight, following in list(zip(layers.weights, layers.along, strict=True))[: max(done, 0)]:
            for part in (weight, *following):
                part.zero_(layers.goes)

    return Penalty(loss, steps=grows.steps + stabilise, after=after, plan=lambda: plan)


def _decorrelation(part: UnitParameter, gone: Tensor) -> Tensor:
    """Return the mean over n^2 entries of the squared Gram entries in a row or column that goes."""
    W = part.matrix
    n = len(W)
    if part.groups == n:
        return W[gone].square().sum(1).square().sum() / n**2
    W, gone = W.view(part.groups, n // part.groups, -1), gone.view(part.groups, -1)
    if part.groups == 1:
        products = (W[0, gone[0]] @ W[0].mT).square()
        # Each pair of one that goes and one that stays stands in G twice.
        return (2 * products.sum() - products[:, gone[0]].sum()) / n**2
    touched = gone[:, :, None] | gone[:, None, :]
    return ((W @ W.mT).square() * touched).sum() / n**2
