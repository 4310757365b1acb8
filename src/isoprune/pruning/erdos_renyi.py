"""How many units each tensor keeps by its shape: Erdős-Rényi-kernel."""

from __future__ import annotations

import math
from collections.abc import Mapping

from isoprune.types import IsopruneError
from isoprune.types.method import method


@method(
    "allocation",
    grains=("filter", "kernel", "vector", "weight", "block"),
    label="ERK",
    source="Mocanu et al., 2018; Evci, Gale, Menick, Castro & Elsen, ICML 2020, arXiv 1911.11134",
)
def erk(
    shapes: Mapping[str, tuple[int, ...]], sizes: Mapping[str, int], most: Mapping[str, int], total: int
) -> dict[str, int]:
    r"""Return how many units each tensor keeps, ``total`` of all: thin tensors lose less than wide ones.

    The part that a tensor keeps is in proportion to
    :math:`(n_{out} + n_{in} + k_h + k_w) / (n_{out} n_{in} k_h k_w)`; where that is more than it has, it
    keeps all, and the others share what is left. Mocanu et al., 2018; Evci et al., 2020, arXiv 1911.11134
    (with the kernel's sizes).

    Args:
        shapes: Of the tensors.
        sizes: How many units each is made of.
        most: How many units each has still.
        total: How many stay, at most the sum of ``most``.

    Cost: none. Memory: a number a tensor.

    Raises:
        IsopruneError: If more are to stay than there are.
    """
    if total > sum(most.values()):
        raise IsopruneError(f"{total} units are to stay, and there are {sum(most.values())}.")
    share = {name: sizes[name] * sum(shape) / math.prod(shape) for name, shape in shapes.items()}
    full: set[str] = set()
    while True:
        rest = total - sum(most[name] for name in full)
        weight = sum(part for name, part in share.items() if name not in full)
        wanted = {n: most[n] if n in full else rest * part / weight for n, part in share.items()}
        over = {name for name, number in wanted.items() if name not in full and number > most[name]}
        if not over:
            break
        full |= over
    keep = {name: int(number) for name, number in wanted.items()}
    # What rounding down leaves goes to those that lost most by it.
    for name in sorted(wanted, key=lambda n: keep[n] - wanted[n])[: total - sum(keep.values())]:
        keep[name] += 1
    return keep


ALLOCATIONS = {f.__name__: f for f in (erk,)}
