"""Channels that an output is a statistic of: what the last layers answer, although it is not returned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isoprune.graph.labels import Plane
from isoprune.graph.ledger import Ledger
from isoprune.graph.recording import Pass


def freeze_answers(ledger: Ledger, passes: Sequence[Pass]) -> None:
    """Let channels stay of which an output is a statistic, if no layer reads them.

    The mean of all scores is about all scores.
    """
    found = [one for taken in passes for one in _statistics_behind(taken)]
    if not found:
        return
    component, count = ledger.components()
    read = np.zeros(count, dtype=bool)
    for source in ledger.sources:
        if any(source.first <= first < source.first + source.size for first in ledger.read):
            read[component[source.first : source.first + source.size]] = True
    for plane, where in found:
        ids = plane.core.reshape(-1).numpy()
        reason = f"the network's output is a statistic of them, by {where}"
        ledger.frozen.append((ids[~read[component[ids]]], reason))


def _statistics_behind(one: Pass) -> list[tuple[Plane, str]]:
    """Return the channels that outputs are means, maxima, softmaxes ... of, and the operation.

    It goes back to the last layers.

    A sum or a Euclidean norm is none of them: it is the same whether a channel is zero or gone.
    """
    writer = {key: node for node in one.nodes for key in node.writes}
    found: list[tuple[Plane, str]] = []
    todo, seen = list(one.outputs), set[int]()
    while todo:
        key = todo.pop()
        node = writer.get(key)
        if node is None or key in seen or node.operation.family == "contraction":
            continue
        seen.add(key)
        todo += node.reads
        if node.over and not node.operation.zeroing:
            found += [(p, node.where) for p in node.inputs[0][0] if node.over & set(p.dims) and not p.row]
    return found
