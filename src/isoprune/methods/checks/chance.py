"""Plans that chance makes: so many units of each tensor, drawn alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from isoprune.pruning.plan import numbers_kept
from isoprune.types import IsopruneError, Plan, Units
from isoprune.types.method import method


def drawn(plan: Plan, units: Sequence[Units], numbers: Mapping[str, int], generator: Generator) -> Plan:
    """Return a plan that keeps so many units of every name, each choice of them equally likely."""
    kept: dict[str, Tensor] = {}
    for one in units:
        if numbers[one.name] < one.size:
            mask = torch.zeros(one.size, dtype=torch.bool)
            mask[torch.randperm(one.size, generator=generator)[: numbers[one.name]]] = True
            kept[one.name] = mask.reshape(one.shape)
    return replace(plan, kept=kept)


@method(
    "check",
    grains=("channel", "filter", "kernel", "vector", "weight", "block"),
    label="mask shuffled in each layer",
    source="Su et al., NeurIPS 2020, arXiv 2009.11094; Frankle et al., ICLR 2021, arXiv 2009.08576",
)
def mask_shuffle(plan: Plan, units: Sequence[Units], *, generator: Generator) -> Plan:
    """Keep as many units of every tensor as the method did, drawn by chance: its own ratios, nothing else.

    A method that is level with it has chosen how much goes of each layer, and no unit.

    Cost: a draw of every unit. Memory: an order of the units of one tensor, 8 bytes a unit, and a bool a
    unit.
    """
    return drawn(plan, units, numbers_kept(units, plan), generator)


@method(
    "check",
    grains=("channel", "filter", "kernel", "vector", "weight", "block"),
    label="random ticket",
    source="Frankle & Carbin, ICLR 2019, arXiv 1803.03635",
)
def random_ticket(plan: Plan, units: Sequence[Units], *, generator: Generator) -> Plan:
    """Keep as many units in all as the method did, drawn by chance from the whole network.

    One unit of every tensor stays, as with the method: a tensor without any would cut the network.

    Cost: a draw of every unit. Memory: an order of all units, 8 bytes a unit, and a bool a unit.
    """
    total, sizes = sum(numbers_kept(units, plan).values()), [u.size for u in units]
    free = torch.randperm(sum(sizes) - len(sizes), generator=generator)[: total - len(sizes)]
    edges = torch.tensor([size - 1 for size in sizes]).cumsum(0)
    # Each tensor lends all but one of its units to the draw.
    found = torch.bincount(torch.bucketize(free, edges, right=True), minlength=len(sizes))
    numbers = {u.name: 1 + int(n) for u, n in zip(units, found, strict=True)}
    return drawn(plan, units, numbers, generator)


_LAST = 0.3  # of the classifier stays


@method(
    "check",
    grains=("filter", "kernel", "vector", "weight", "block"),
    label="smart ratios",
    source="Su et al., NeurIPS 2020, arXiv 2009.11094",
)
def smart_ratios(plan: Plan, units: Sequence[Units], *, generator: Generator) -> Plan:
    r"""Keep as many units in all, drawn by chance at ratios that fall with depth by a rule.

    Of the l-th of L tensors stays a part :math:`p_l \propto (L - l + 1)^2 + (L - l + 1)`, of the last one,
    the classifier, 0.3; so scaled that as many stay as the method kept. What is more than a whole tensor goes
    to the others, to the classifier last. Where 0.3 of the classifier is more than half of all that stays,
    the rule holds for it too.
    Theirs for VGG divides by :math:`(l + 1)^2` besides; that is not done here.

    Cost: a draw of every unit. Memory: an order of the units of one tensor, 8 bytes a unit, and a bool a
    unit.

    Raises:
        IsopruneError: If there are fewer than two tensors to share among.
    """
    if len(units) < 2:
        raise IsopruneError("smart_ratios shares out among layers, and there is one. Leave it out: checks=.")
    total, sizes = sum(numbers_kept(units, plan).values()), [u.size for u in units]
    depth = len(units)
    weights = [float((depth - i) ** 2 + depth - i) for i in range(depth)]
    last = round(_LAST * sizes[-1])
    if last > total / 2:
        numbers = shared(total, sizes, weights)
    else:
        last = max(last, total - sum(sizes[:-1]))
        numbers = [*shared(total - last, sizes[:-1], weights[:-1]), last]
    return drawn(plan, units, dict(zip((u.name for u in units), numbers, strict=True)), generator)


def shared(total: int, sizes: Sequence[int], weights: Sequence[float]) -> list[int]:
    """Return whole numbers that add up to ``total``, each size * weight * one factor, from 1 to the size."""
    total = min(max(total, len(sizes)), sum(sizes))
    low, high = 0.0, 1 / min(weights)
    for _ in range(200):  # to the last bit of the factor
        middle = (low + high) / 2
        found = sum(min(max(s * w * middle, 1.0), s) for s, w in zip(sizes, weights, strict=True))
        low, high = (middle, high) if found < total else (low, middle)
    exact = [min(max(s * w * high, 1.0), s) for s, w in zip(sizes, weights, strict=True)]
    numbers = [int(x) for x in exact]
    # The largest remainders are rounded up.
    order = sorted(range(len(sizes)), key=lambda i: numbers[i] - exact[i])
    for i in [i for i in order if numbers[i] < sizes[i]][: total - sum(numbers)]:
        numbers[i] += 1
    return numbers
