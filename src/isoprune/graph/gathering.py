"""Which channels were summed over on the way to a value that the forward reads in Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from isoprune.graph.labels import Plane, Planes
from isoprune.graph.recording import Node


@dataclass
class Gathering:
    """Goes back over the operations of a pass, as they come, to the layers that made what is read."""

    nodes: Sequence[Node]
    _indexed: int = 0
    _writer: dict[int, Node] = field(default_factory=dict)
    _seen: set[int] = field(default_factory=set)
    _gathered: list[Plane] = field(default_factory=list)

    def behind(self, keys: Sequence[int]) -> Planes:
        """Return the channels over which statistics ran, of tensors by key and of those asked for before."""
        for node in self.nodes[self._indexed :]:
            self._writer.update(dict.fromkeys(node.writes, node))
        self._indexed = len(self.nodes)
        todo = list(keys)
        while todo:
            key = todo.pop()
            node = self._writer.get(key)
            if node is None or key in self._seen:
                continue
            self._seen.add(key)
            if node.operation.family in ("contraction", "norm"):
                continue
            todo += node.reads
            if node.operation.family == "reduction":
                self._gathered += node.inputs[0][0]
        return tuple(self._gathered)
