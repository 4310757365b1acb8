"""The ways that a forward can take: each branch on a value is recorded both ways."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

from isoprune.graph.reads import NeedsValues, Read, Reads
from isoprune.graph.recording import Node, Pass
from isoprune.types import IsopruneError

MOST = 32  # ways of one call

Way = Callable[[Reads], Pass]


class TooManyWays(IsopruneError):
    """A forward that branches on values more often than can be recorded."""


def every_way(
    record: Way, parameters: Collection[int], known: set[tuple], *, values: bool
) -> Iterator[tuple[Pass, Read | None]]:
    """Yield the pass of ``record``, then one for each other answer at each place that decides, with that.

    A way that raises is one that no input takes (the check of an argument), and is left out, as are ways
    that run the same operations on the same tensors as another.

    Args:
        record: Gives a pass for the answers that it is to hear.
        parameters: The keys under which operations read these.
        known: What ran in earlier passes; added to.
        values: Whether passes are computed.

    Raises:
        TooManyWays: If there are more than 32.
    """
    first = record(Reads(values=values))
    if _is_new(first, parameters, known):
        yield first, None
    tried: Counter[tuple] = Counter()
    queue = deque(_others(first, 0, tried, parameters))
    number = 1
    while queue:
        answers = queue.popleft()
        if number >= MOST:
            raise TooManyWays(
                f"The forward branches on its values in more than {MOST} ways, last at {answers[-1].where}, "
                "so not all of them can be recorded. Let the network branch on what is no tensor, and "
                "give those calls as also=[...]."
            )
        number += 1
        try:
            way = record(Reads(answers, values=values))
        except NeedsValues:
            raise
        except Exception:
            continue
        queue += _others(way, len(answers), tried, parameters)
        if _is_new(way, parameters, known):
            yield way, answers[-1]


def _is_new(way: Pass, parameters: Collection[int], known: set[tuple]) -> bool:
    before = len(known)
    known.add(tuple((*ran, *_carried(node)) for ran, node in _operations(way.nodes, parameters)))
    return len(known) > before


def _others(
    way: Pass, after: int, tried: Counter[tuple], parameters: Collection[int]
) -> Iterator[tuple[Read, ...]]:
    """Yield the answers that lead elsewhere; where the same is asked after the same operations, twice."""
    before = 0
    for i, read in enumerate(way.reads):
        if not read.choices:
            continue
        body = tuple(ran for ran, _ in _operations(way.nodes[before : read.at], parameters))
        before = read.at
        for choice in read.choices if i >= after else ():
            key = read.where, body, repr(choice)
            tried[key] += 1
            if tried[key] <= 2:
                yield (*way.reads[:i], replace(read, value=choice))


def _operations(nodes: Sequence[Node], parameters: Collection[int]) -> Iterator[tuple[tuple, Node]]:
    """Yield what ran, where, and on which tensors: parameters by their keys, values by their order."""
    place: dict[int, int] = {}
    for node in nodes:
        place |= {key: i for i, key in enumerate(node.writes, len(place)) if key not in place}
        read = tuple(place.get(key, key if key in parameters else -1) for key in node.reads)
        yield (node.op, node.module, read), node


def _carried(node: Node) -> Iterator[tuple]:
    """Yield which numbers are in an operation and which channels go out of it."""
    yield node.numbers
    for planes, _ in node.outputs:
        yield tuple((p.dims, p.core.numel(), 0 if p.row else int(p.core.sum())) for p in planes)
