"""What a rule sees of one operation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from isoprune.graph.operations import Operation


@dataclass
class Call:
    """An operation that ran: its arguments, the tensors among them, and what came out."""

    operation: Operation
    where: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tensors: list[Tensor]
    outs: list[Tensor]

    @property
    def op(self) -> str:
        return self.operation.name
