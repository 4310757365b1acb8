"""Random numbers that a forward draws: the same again in every run, whatever ran before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from isoprune.graph.aten import operation_name
from isoprune.graph.dispatch_mode import DispatchMode
from isoprune.graph.isolation import seed_all, seed_torch
from isoprune.graph.labels import Planes, restrict
from isoprune.graph.recording import Node

_SEED = 20_260


def draws(func: Any) -> bool:
    """Tell whether an ATen operation draws random numbers."""
    return torch.Tag.nondeterministic_seeded in func.tags


@cache
def _name_draws(name: str) -> bool:
    packet = getattr(torch.ops.aten, name, None)
    return packet is not None and any(draws(getattr(packet, one)) for one in packet.overloads())


class Seeded(DispatchMode):
    """Draws the n-th random numbers of a forward from the n-th seed, and touches no generator of the user."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.muted = 0  # how many modules are running whose draws are not counted

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if self.muted or not draws(func):
            return func(*args, **kwargs)
        self.count += 1
        seed_torch(_SEED + self.count)
        if kwargs.get("generator") is not None:
            kwargs["generator"] = None
        return self.drawn(func, args, kwargs)

    def drawn(self, func: Any, args: Any, kwargs: Any) -> Any:
        return func(*args, **kwargs)


def muted_by(change: int) -> None:
    """Add to how many modules are running whose draws are not counted: the other network has none of them."""
    for mode in _get_current_dispatch_mode_stack():
        if isinstance(mode, Seeded):
            mode.muted += change


@dataclass
class Draw:
    """Random numbers before anything is computed from them, and the channels that they are of."""

    values: Tensor
    planes: Planes


class Noting(Seeded):
    """Notes what the dense network draws, beside the recorded operations."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        super().__init__()
        self.nodes = iter([node for node in nodes if _name_draws(node.op)])
        self.node = next(self.nodes, None)
        self.notes: list[Draw | None] = []

    def drawn(self, func: Any, args: Any, kwargs: Any) -> Any:
        name = operation_name(func)
        values = _raw(func, args, kwargs)
        if values is None:
            self.notes.append(None)
            return func(*args, **kwargs)
        planes: Planes = ()
        if self.node is not None and self.node.op == name and self.node.outputs[0][1] == values.shape:
            planes = self.node.outputs[0][0]
            self.node = next(self.nodes, None)
        self.notes.append(Draw(values, planes))
        return _made(func, args, kwargs, values)


class Repeating(Seeded):
    """Gives the small network what the dense one drew, for the channels that stay."""

    def __init__(self, notes: list[Draw | None], kept: Tensor) -> None:
        super().__init__()
        self.notes, self.kept = notes, kept

    def drawn(self, func: Any, args: Any, kwargs: Any) -> Any:
        note = self.notes[self.count - 1] if self.count <= len(self.notes) else None
        if note is None:
            return func(*args, **kwargs)
        return _made(func, args, kwargs, restrict(note.values, note.planes, self.kept))


def _raw(func: Any, args: Any, kwargs: Any) -> Tensor | None:
    """Return numbers of the size of a result, from which it can be made; None: it makes its own."""
    name, first = operation_name(func), args[0] if args else None
    if name in ("bernoulli", "bernoulli_", "native_dropout") and isinstance(first, Tensor):
        return torch.rand_like(first)
    if name == "normal" and any(isinstance(a, Tensor) for a in args):
        return torch.randn_like(next(a for a in args if isinstance(a, Tensor)))
    if isinstance(first, Tensor) and name.endswith(("_like", "_")):
        return func(torch.empty_like(first) if name.endswith("_") else first, *args[1:], **kwargs)
    return None


def _made(func: Any, args: Any, kwargs: Any, values: Tensor) -> Any:
    """Return the result of an operation that draws from the numbers it is given."""
    name, first = operation_name(func), args[0]
    if name == "native_dropout":
        if args[2] is False:
            return first.clone(), torch.ones_like(first, dtype=torch.bool)
        stays = values >= args[1]
        return first * stays / (1 - args[1] if args[1] < 1 else 1), stays
    if name == "bernoulli":
        return (values < (args[1] if len(args) > 1 and not isinstance(args[1], Tensor) else first)).to(first)
    if name == "bernoulli_":
        return first.copy_(values < (args[1] if len(args) > 1 else kwargs.get("p", 0.5)))
    if name == "normal":
        return first + values * (args[1] if len(args) > 1 else kwargs.get("std", 1.0))
    return first.copy_(values) if name.endswith("_") else values


@contextmanager
def seeded_draws(mode: Seeded | None = None) -> Iterator[Seeded]:
    """Run a forward in which torch, Python and numpy draw the same numbers each time."""
    seed_all(_SEED)
    with mode or Seeded() as entered:
        yield entered
