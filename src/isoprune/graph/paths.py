"""The paths that a forward can take: each branch on a value is recorded both ways."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

import torch
from torch import Tensor

from isoprune.graph.ledger import CONSTANT, Ledger
from isoprune.graph.reads import NeedsValues, Read, Reads
from isoprune.graph.recording import Node, Pass
from isoprune.types import IsopruneError

MOST = 32  # ways of one call
# Other numbers, of which nobody knows whether they lead elsewhere: as many as run so many operations.
_FEWEST_GUESSES, _MOST_GUESSES, _GUESSED_OPERATIONS = 8, 96, 4_000

Answers = tuple[Read, ...]
Way = Callable[[Reads], Pass]


class TooManyWays(IsopruneError):
    """A forward that branches on values more often than can be recorded."""


def every_way(record: Way, glance: Way, ways: Ways, *, values: bool) -> Iterator[tuple[Pass, Read | None]]:
    """Yield the pass of ``record``, then one for each other answer at each place that decides, with that.

    A way that raises is one that no input takes (the check of an argument), and is left out, as are ways
    that run the same operations on the same tensors as another. Where Python has a number, a list or an
    array, of whose use nothing is seen, others are tried: those beside which the code decides, and far ones.

    Args:
        record: Gives a pass for the answers that it is to hear.
        glance: Gives its operations alone, without channels: enough to see whether a guess leads elsewhere.
        ways: The passes so far; added to.
        values: Whether passes are computed.

    Raises:
        TooManyWays: If there are more than 32.
    """
    first = record(Reads(values=values))
    parameters = ways.parameters
    if ways.add(first):
        yield first, None
    tried = ways.tried
    # Comparisons, both of whose answers are taken, go before numbers that may change nothing; of these, the
    # first of every place before the second of any.
    sure, guesses = deque[Answers](), list[tuple[int, int, Answers]]()
    few = _GUESSED_OPERATIONS // max(len(first.nodes), 1)
    left, number, guessed = max(_FEWEST_GUESSES, min(_MOST_GUESSES, few)), 1, 0

    def note(way: Pass, after: int) -> None:
        nonlocal guessed
        for rank, answers in _others(way, after, tried, parameters):
            if isinstance(answers[-1].value, bool):
                sure.append(answers)
            else:
                guessed += 1
                heappush(guesses, (rank, guessed, answers))

    note(first, 0)
    while sure or (guesses and left):
        guess = not sure
        answers = heappop(guesses)[-1] if guess else sure.popleft()
        if not guess and number >= MOST:
            raise TooManyWays(
                f"The forward branches on its values in more than {MOST} ways, last at {answers[-1].where}, "
                "so not all of them can be recorded. Let the network branch on what is no tensor, and "
                "give those calls as also=[...]."
            )
        left, number = left - guess, number + (not guess)
        try:
            if guess and not ways.runs_otherwise(first, glance(Reads(answers, values=values))):
                continue
            way = record(Reads(answers, values=values))
        except NeedsValues:
            raise
        except Exception:
            continue
        note(way, len(answers))
        if ways.add(way):
            yield way, answers[-1]


@dataclass
class Ways:
    """The passes that there are, each once: those that run other operations, or on other channels."""

    ledger: Ledger
    parameters: Collection[int]  # the keys under which operations read these
    tried: Counter[tuple] = field(default_factory=Counter)
    _first: Pass | None = None
    _known: set[tuple] = field(default_factory=set)
    _ran: set[tuple] = field(default_factory=set)

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

    def runs_otherwise(self, first: Pass, way: Pass) -> bool:
        """Tell whether no pass so far ran the same operations with the same numbers on the same tensors."""
        if not self._ran:
            self._ran.add(self._run(first))
        before = len(self._ran)
        self._ran.add(self._run(way))
        return len(self._ran) > before

    def _run(self, way: Pass) -> tuple:
        return tuple((*ran, node.numbers) for ran, node in _operations(way.nodes, self.parameters))

    def _key(self, way: Pass) -> tuple:
        own = torch.zeros(self.ledger.size, dtype=torch.int64)
        for source in self.ledger.sources:  # constants and rows have other ids in each pass
            if source.tensor not in ("", CONSTANT):
                own[source.first : source.first + source.size] = 1
        return tuple((*ran, *_carried(node, own)) for ran, node in _operations(way.nodes, self.parameters))


def _others(
    way: Pass, after: int, tried: Counter[tuple], parameters: Collection[int]
) -> Iterator[tuple[int, Answers]]:
    """Yield the answers that lead elsewhere, each with its rank; where the same is asked anew, twice.

    Numbers that may change nothing are tried once.
    """
    before = 0
    for i, read in enumerate(way.reads):
        if not read.choices:
            continue
        body = tuple(ran for ran, _ in _operations(way.nodes[before : read.at], parameters))
        before = read.at
        for number, choice in enumerate(read.choices if i >= after else ()):
            key = read.where, body, number
            tried[key] += 1
            if tried[key] <= (2 if isinstance(choice, bool) else 1):
                yield number, (*way.reads[:i], replace(read, value=choice))


def _operations(nodes: Sequence[Node], parameters: Collection[int]) -> Iterator[tuple[tuple, Node]]:
    """Yield what ran, where, and on which tensors: parameters by their keys, values by their order.

    What only lays out memory is passed over, as that of a value which is told is not run.
    """
    place: dict[int, int] = {}
    count = 0
    for node in nodes:
        read = tuple(place.get(key, key if key in parameters else -1) for key in node.reads)
        if node.operation.layout and len(read) == 1:
            place |= dict.fromkeys(node.writes, read[0])
            continue
        place |= {key: i for i, key in enumerate(node.writes, count) if key not in place}
        count += len(node.writes)
        yield (node.op, node.module, read), node


def _carried(node: Node, own: Tensor) -> Iterator[tuple]:
    """Yield which numbers are in an operation and which channels go out of it."""
    yield node.numbers
    for planes, _ in node.outputs:
        yield tuple((p.dims, 0 if p.row else int((p.core * own[p.core]).sum())) for p in planes)
