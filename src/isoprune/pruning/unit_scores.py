"""Values of weights -> scores of units, at any grain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from isoprune.types import Member, Units

Reduce = Callable[[Tensor, Tensor], Tensor]  # sums, numbers of elements -> a value per unit


def score_units(
    values: Mapping[str, Tensor],
    units: Sequence[Units],
    reduce: Reduce,
    *,
    each: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return for all units what ``reduce`` makes of the sum of their values, and of how many there are.

    Units that lie in several tensors (channels of a residual sum) get the mean over the weights that make
    them; where no weight does (a table of positions), over all that hold them.

    Args:
        values: A value for every element of a weight, by the weight's name.
        units: What is scored.
        reduce: (sums, numbers) -> scores, of units within one tensor.
        each: What is done to every value before they are added up.
    """
    return {u.name: _scores(u, values, reduce, each or _as_it_is) for u in units}


def _as_it_is(values: Tensor) -> Tensor:
    return values


def _scores(
    units: Units, values: Mapping[str, Tensor], reduce: Reduce, each: Callable[[Tensor], Tensor]
) -> Tensor:
    if len(units.members) == 1 and units.members[0].unit is None:
        v = each(values[units.members[0].tensor])
        return reduce(v, torch.ones((), dtype=v.dtype, device=v.device)).cpu()
    total = torch.zeros(units.size, dtype=torch.float64)
    weights = torch.zeros(units.size, dtype=torch.float64)
    for member in makers(units, values):
        sums, numbers = unit_sums(each(values[member.tensor]), member.channels, units.size)
        inside = numbers > 0
        total = total + torch.where(inside, reduce(sums, numbers.clamp_min(1)), 0.0).cpu()
        weights = weights + inside.cpu()
    return (total / weights.clamp_min(1)).reshape(units.shape)


def makers(units: Units, values: Mapping[str, Tensor]) -> list[Member]:
    """Return the members in which weights make the units; where none do, all that hold them."""
    known = [m for m in units.members if m.tensor in values]
    makers = [m for m in known if m.role == "out" and values[m.tensor].dim() > 1]
    return makers or [m for m in known if len(m.dims) == 1] or known


def unit_sums(values: Tensor, unit: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the sum and the number of the values of every unit."""
    unit = unit.to(values.device)
    alike = [d for d in range(values.dim()) if unit.shape[d] == 1]
    # In the weights' own precision, but for halves: torch sums by halving, and twice as fast as in double.
    wide = values if values.element_size() >= 4 else values.float()
    inner = (wide.sum(alike, keepdim=True) if alike else wide).double()
    flat = unit.expand(inner.shape).reshape(-1)
    mine = flat >= 0
    # Not in place, so that it can be mapped over samples.
    sums = inner.new_zeros(size).index_add(0, flat[mine], inner.reshape(-1)[mine])
    each = torch.ones(int(mine.sum()), dtype=torch.float64, device=values.device)
    numbers = torch.zeros_like(sums).index_add(0, flat[mine], each)
    return sums, numbers * (values.numel() // inner.numel())


def made_and_read(units: Sequence[Units], values: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
    """Return the unit of every element of weights that make units which other weights read, by name."""
    found: dict[str, list[Tensor]] = {}
    for u in units:
        known = [m for m in u.members if m.tensor in values and values[m.tensor].dim() > 1]
        if any(m.role == "in" for m in known):
            for m in known:
                if m.role == "out":
                    found.setdefault(m.tensor, []).append(m.channels)
    return found


def gone_with_readers(kept: Tensor, made: Sequence[Tensor]) -> Tensor:
    """Return which elements of a weight make units that are gone, and so are gone where they are read too.

    What reads a unit makes up for it. Were it made up for where it is made as well, that would be twice.
    """
    gone = torch.zeros_like(kept)
    for unit in made:
        alive = unit_sums(kept.double(), unit, int(unit.max()) + 1)[0] > 0
        gone |= (unit >= 0) & ~alive[unit.clamp_min(0)]
    return gone
