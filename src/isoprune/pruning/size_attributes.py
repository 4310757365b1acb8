"""Attributes that a forward used as sizes (num_heads, head_dim, hidden_dim, ...) follow the tensors."""

from __future__ import annotations

from collections.abc import Callable
from math import isclose

from torch import Tensor, nn

from isoprune.graph import Graph
from isoprune.graph.cloning import named_modules
from isoprune.graph.labels import box_size

Name = tuple[str, str]  # module and attribute


def set_sizes(new: nn.Module, graph: Graph, kept: Tensor) -> None:
    """Set the attributes whose sizes a recorded forward gave to tensors, as far as those are smaller now.

    What an attribute alone gave goes first. Where two together did (`keys * width`, `width // paths`),
    the one that is known from elsewhere stays, and else the smaller of two factors: a count.
    """
    modules = dict(named_modules(new))
    changes: dict[Name, int] = {}
    known: set[Name] = set()

    def value(name: Name) -> int:
        return changes.get(name, _value(modules[name[0]], name[1]))

    for claim in sorted(graph.recording.claims, key=lambda c: c.partner is not None):
        name = claim.module, claim.attribute
        size = box_size(claim.planes, claim.shape, kept)[claim.dim]
        if claim.partner is None:
            known.add(name)
            if size != claim.shape[claim.dim]:
                changes[name] = int(size / claim.factor)
            continue
        sign, *other = claim.partner
        partner = (other[0], other[1])
        if sign == "-" and (size != claim.shape[claim.dim] or partner in changes):
            changes[name] = size + value(partner)
        elif size == claim.shape[claim.dim]:
            continue
        elif sign == "/" and name not in known:
            changes[name] = int(size / claim.factor * value(partner))
        elif sign == "*":
            follower, stays = (name, partner) if _follows(name, partner, known, value) else (partner, name)
            changes[follower] = int(size / claim.factor / max(value(stays), 1))
    for (module, attribute), size in changes.items():
        # A functional norm speaks of an attribute that the module calling it need not have.
        if not hasattr(modules.get(module), attribute.partition(".")[0]):
            continue
        was = _value(modules[module], attribute)
        if was < 0:  # "whatever is left": it follows by itself
            continue
        for name, number in scales_of(modules[module]).items():
            if isclose(number, was**-0.5):
                setattr(modules[module], name, size**-0.5)
        _set(modules[module], attribute, size)


def scales_of(module: nn.Module) -> dict[str, float]:
    """Return the numbers that a module of transformers computed from a width, and that must follow it.

    Elsewhere such numbers stay: then nothing need be made up for.
    """
    if not type(module).__module__.startswith("transformers."):
        return {}
    return {k: v for k, v in vars(module).items() if type(v) is float and k.startswith("scal")}


def _follows(one: Name, other: Name, known: set[Name], value: Callable[[Name], int]) -> bool:
    """Tell whether of two factors the first is the one that follows a new size."""
    if (one in known) != (other in known):
        return other in known
    return value(one) >= value(other)


def _value(module: nn.Module, attribute: str) -> int:
    base, _, position = attribute.partition(".")
    value = getattr(module, base)
    return value[int(position)] if position else value


def _set(module: nn.Module, attribute: str, size: int) -> None:
    base, _, position = attribute.partition(".")
    if position:
        sizes = getattr(module, base)
        size = type(sizes)(size if i == int(position) else n for i, n in enumerate(sizes))
    setattr(module, base, size)
