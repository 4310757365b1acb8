"""The ways that a forward can take: each branch on a value is recorded both ways."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from isoprune.graph.ledger import CONSTANT, Ledger
from isoprune.graph.reads import NeedsValues, Read, Reads
from isoprune.graph.recording import Node, Pass
from isoprune.types import IsopruneError

MOST = 32  # ways of one call

Way = Callable[[Reads], Pass]


class TooManyWays(IsopruneError):
    """A forward that branches on values more often than can be recorded."""


def every_way(record: Way, ways: Ways, *, values: bool) -> Iterator[tuple[Pass, Read | None]]:
    """Yield the pass of ``record``, then one for each other answer at each place that decides, with that.

    A way that raises is one that no input takes (the check of an argument), and is left out, as are ways
    that run the same operations on the same tensors as another.

    Args:
        record: Gives a pass for the answers that it is to hear.
        ways: The passes so far; added to.
        values: Whether passes are computed.

    Raises:
        TooManyWays: If there are more than 32.
    """
    first = record(Reads(values=values))
    parameters = ways.parameters
    if ways.add(first):
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
        if ways.add(way):
            yield way, answers[-1]


@dataclass
class Ways:
    """The passes that there are, each once: those that run other operations, or on other channels."""

    ledger: Ledger
    parameters: Collection[int]  # the keys under which operations read these
    _first: Pass | None = None
    _known: set[tuple] = field(default_factory=set)

    def add(self, way: Pass) -> bool:
        """Tell whether a pass is new. A first one is not looked at until there is another."""
        if self._first is None:
            self._first = way
            return True
        if not self._known:
            self._known.add(self._key(self._first))
        before = len(self._known)
        self._known.add(self._key(way))
        return len(self._known) > before

    def _key(self, way: Pass) -> tuple:
        own = torch.zeros(self.ledger.size, dtype=torch.int64)
        for source in self.ledger.sources:  # constants and rows have other ids in each pass
            if source.tensor not in ("", CONSTANT):
                own[source.first : source.first + source.size] = 1
        return tuple((*ran, *_carried(node, own)) for ran, node in _operations(way.nodes, self.parameters))


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


def _carried(node: Node, own: Tensor) -> Iterator[tuple]:
    """Yield which numbers are in an operation and which channels go out of it."""
    yield node.numbers
    for planes, _ in node.outputs:
        yield tuple((p.dims, 0 if p.row else int((p.core * own[p.core]).sum())) for p in planes)
