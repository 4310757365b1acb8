"""The families of operations that need a rule, and which operation is of which family.

A rule takes the tracer and a call and returns the planes of each output. To add an operation, add its
ATen name to the family's table; an operation in none of them freezes what it touches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from isoprune.graph.labels import Planes
from isoprune.graph.rules.contraction import CONTRACTIONS
from isoprune.graph.rules.norm import NORMS
from isoprune.graph.rules.pointwise import POINTWISE, pointwise
from isoprune.graph.rules.reduction import REDUCTIONS
from isoprune.graph.rules.shape import SHAPES
from isoprune.graph.rules.spatial import SPATIAL

if TYPE_CHECKING:
    from isoprune.graph.trace import Call, Tracer

Rule = Callable[["Tracer", "Call"], list[Planes]]

# They take an activation only for its size, type or device: their values are constants, made for real.
FACTORIES = frozenset({"new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided", "sym_size"})

_FAMILIES: dict[str, Any] = {
    "contraction": CONTRACTIONS,
    "norm": NORMS,
    "reduction": REDUCTIONS,
    "spatial": SPATIAL,
    "shape": SHAPES,
    "pointwise": POINTWISE,
}
_TABLE = {op: (family, rule) for family, rules in _FAMILIES.items() for op, rule in rules.items()}


def rule_for(func: Any) -> tuple[str, Rule]:
    """Return the family and the rule of an ATen operation."""
    op = func._schema.name.split("::")[1]
    if op in _TABLE:
        return _TABLE[op]
    if torch.Tag.pointwise in func.tags:
        return "pointwise", pointwise
    return "unknown", unknown


def unknown(tracer: Tracer, call: Call) -> list[Planes]:
    """Freeze the channels that touch an operation without a rule: never guess."""
    for tensor in call.tensors:
        tracer.ledger.freeze(tracer.planes(tensor), f"{call.where} has no rule")
    return [() for _ in call.outs]
