"""Grains: what the units of a network are, from single weights to channels of several coupled tensors.

==============  ==========================================================================================
channel         what `trace` found: filters of several layers, and what reads them, that can only go together
head            whole attention heads, of all projections
residual_block  whole items of a list of modules that add to their input: see `residual_blocks`
filter          one filter of one tensor; its bias and what reads it stay
kernel          the part of a filter that reads one channel: [kh, kw] numbers; of a Linear, one weight
vector          a row of a kernel: kw numbers; of a Linear, one weight
weight          a single weight
n:m             single weights, of which n stay of every m neighbours along the input: "2:4"
block           b x c weights of the filter matrix [filters, fan_in]: "4x4" (the last ones may be smaller)
==============  ==========================================================================================

All but the first three are of the weights of Linear layers, convolutions, attention and recurrent layers;
biases, norms and embeddings stay. Mao et al., 2017, arXiv 1705.08922 (granularity); Mishra et al., 2021,
arXiv 2104.08378 (n:m).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isoprune.graph import Graph
from isoprune.graph.labels import core
from isoprune.types import IsopruneError, Member, Units
from isoprune.types.errors import check_known
from isoprune.types.method import method_of, name_of
from isoprune.types.units import DEPTH, GRAINS


@dataclass(frozen=True)
class Grain:
    """A grain as it is asked for: its name, and the two numbers of "2:4" or "4x4"."""

    name: str
    numbers: tuple[int, int] = (1, 1)

    def __str__(self) -> str:
        a, b = self.numbers
        return {"n:m": f"{a}:{b}", "block": f"{a}x{b}"}.get(self.name, self.name)

    @property
    def whole(self) -> bool:
        """Whether its units are whole channels, so that a network can shrink."""
        return self.name in ("channel", "head")

    @property
    def of_tensors(self) -> bool:
        """Whether its units are parts of single tensors, which only a mask removes."""
        return not self.whole and self.name != DEPTH


def read_grain(text: str) -> Grain:
    """Return the grain that a word means: "weight", "2:4", "4x4", ...

    Raises:
        IsopruneError: For any other word, or numbers that mean nothing.
    """
    if (found := re.fullmatch(r"(\d+)([:x])(\d+)", text)) is not None:
        a, b = int(found[1]), int(found[3])
        if found[2] == ":" and 0 < a < b:
            return Grain("n:m", (a, b))
        if found[2] == "x" and a and b and a * b > 1:
            return Grain("block", (a, b))
        raise IsopruneError(
            f"The grain {text!r} means nothing: write n:m with 0 < n < m, such as 2:4 (two of four stay), or "
            "rows x columns of a block, such as 4x4."
        )
    check_known(text, [*(g for g in GRAINS if g not in ("n:m", "block")), DEPTH, "2:4", "4x4"], "grain")
    return Grain(text)


def require_grain(repair: Callable[..., Any], grain: str) -> None:
    """Refuse a repair that does not know units of a grain ("channel", "2:4", ...) rather than skip its work.

    A function of your own that no `@method` describes is not refused.

    Raises:
        IsopruneError: Naming the repair, and what it knows.
    """
    facts, name = method_of(repair), name_of(repair)
    asked = read_grain(grain).name
    if facts.kind != "repair" or asked in facts.grains:
        return
    if asked == DEPTH:
        raise IsopruneError(
            f"Repair {name!r} goes by layers that are still there, and whole blocks went. Take 'polish', "
            "which trains toward the dense outputs, or 'batchnorm'."
        )
    raise IsopruneError(
        f"Repair {name!r} knows units of grain {', '.join(facts.grains)}, and those that went are of grain "
        f"{grain!r}. Take 'reconstruct', which fits what a mask leaves, or prune by whole channels."
    )


def units_of(graph: Graph, grain: str | Grain) -> tuple[Units, ...]:
    """Return the units of a traced network at a grain.

    Raises:
        IsopruneError: For an unknown grain.
    """
    grain = read_grain(grain) if isinstance(grain, str) else grain
    if grain.name == "channel":
        return graph.groups
    if grain.name == "head":
        return tuple(_with_members(graph, heads) for heads in graph.heads)
    if not grain.of_tensors:
        raise IsopruneError(f"Units of grain {grain} are no parts of a graph: isoprune.prune finds them.")
    return tuple(_units(name, shape, out, grain) for name, shape, out in weights_of(graph))


def _with_members(graph: Graph, heads: Units) -> Units:
    """Return the heads with every tensor that has some of their channels."""
    head = {int(c): i for i, c in enumerate(graph.channels[heads.name])}
    of_channel = np.full(int(graph.component.max()) + 1, -1)
    for row, channels in graph.ledger.rows:
        if (number := head.get(int(graph.component[row]))) is not None:
            of_channel[graph.component[channels]] = number
    members = []
    for name, (planes, _) in graph.tensors.items():
        for plane in planes:
            unit = torch.from_numpy(of_channel[graph.component[core(plane.ids).numpy()]])
            if bool((unit >= 0).any()):
                members.append(Member(name, plane.dims, graph.role(name, plane), unit))
    return replace(heads, members=tuple(members))


def weights_of(graph: Graph) -> Iterator[tuple[str, torch.Size, int]]:
    """Yield name, shape and filter dimension of every tensor that activations are multiplied with."""
    convolved = {
        graph.recording.names[node.reads[1]]: int(node.transposed)
        for node in graph.nodes
        if node.op == "convolution" and node.reads[1] in graph.recording.names
    }
    for name, (_, shape) in graph.tensors.items():
        if name in convolved:
            yield name, shape, convolved[name]
            continue
        roles = [graph.roles.get((name, d)) for d in range(min(len(shape), 2))]
        # An embedding makes channels and reads none: its other dimension is a table's, not a channel's.
        if len(shape) < 2 or not {"in", "out"} & set(roles) or ("in" not in roles and "other" in roles):
            continue
        yield name, shape, roles.index("out") if "out" in roles else int(roles[0] == "in")


def _units(name: str, shape: torch.Size, out: int, grain: Grain) -> Units:
    if grain.name in ("weight", "n:m"):
        member = Member(name, tuple(range(len(shape))), "out", None)
        numbers = grain.numbers if grain.name == "n:m" else None
        return Units(name, grain.name, tuple(shape), (member,), numbers)
    number, unit = _LAYOUTS[grain.name](shape, out, grain)
    dims = tuple(d for d, n in enumerate(unit.shape) if n > 1)
    return Units(name, grain.name, number, (Member(name, dims, "out", unit),))


def _filters(shape: torch.Size, out: int, _: Grain) -> tuple[tuple[int, ...], Tensor]:
    return (shape[out],), torch.arange(shape[out]).reshape(
        [n if d == out else 1 for d, n in enumerate(shape)]
    )


def _leading(shape: torch.Size, dims: int) -> tuple[tuple[int, ...], Tensor]:
    """Number the indices of the first ``dims`` dimensions."""
    first = shape[:dims]
    return tuple(first), torch.arange(first.numel()).reshape(*first, *(1 for _ in shape[dims:]))


def _kernels(shape: torch.Size, _out: int, _grain: Grain) -> tuple[tuple[int, ...], Tensor]:
    return _leading(shape, 2)


def _vectors(shape: torch.Size, _out: int, _grain: Grain) -> tuple[tuple[int, ...], Tensor]:
    return _leading(shape, max(len(shape) - 1, 2))


def _blocks(shape: torch.Size, out: int, grain: Grain) -> tuple[tuple[int, ...], Tensor]:
    """Number the blocks of the filter matrix, whose rows are the filters."""
    rows, columns = grain.numbers
    filters, fan_in = shape[out], shape.numel() // shape[out]
    wide = -(-fan_in // columns)
    row, column = torch.arange(filters) // rows, torch.arange(fan_in) // columns
    unit = row[:, None] * wide + column
    rest = [n for d, n in enumerate(shape) if d != out]
    return (-(-filters // rows), wide), unit.reshape(filters, *rest).movedim(0, out)


_LAYOUTS: dict[str, Callable[[torch.Size, int, Grain], tuple[tuple[int, ...], Tensor]]] = {
    "filter": _filters,
    "kernel": _kernels,
    "vector": _vectors,
    "block": _blocks,
}
