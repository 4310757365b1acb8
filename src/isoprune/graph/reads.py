"""Values that a forward reads in Python: they decide branches, indices and sizes of results.

Most forwards read nothing. Where one does, the answers are recorded, and told again to the smaller network
and to the dense one with zeroed channels: then all three take one path, and their tensors can be compared.
What such an operation reads is compared as well, so that equal answers are no matter of belief.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from isoprune.graph.aten import operation_name
from isoprune.graph.dispatch_mode import DispatchMode
from isoprune.graph.labels import Planes
from isoprune.graph.numbers_read import number
from isoprune.graph.other_answers import other_positions, others
from isoprune.graph.shape_inference import flattened
from isoprune.graph.value_flow import decided, frames
from isoprune.types import IsopruneError

SCALARS = {"_local_scalar_dense", "equal", "allclose"}
# Their results are of a size that values decide, or are drawn by them.
_WHOLE = {
    "nonzero", "nms", "_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive",
    "bincount", "histc", "multinomial", "argwhere", "repeat_interleave",
}  # fmt: skip
_ORDERED = {"sort", "topk", "argsort"}  # their order is recorded too, where values are computed
_PICKED = {"argmax", "argmin"}
_MASKABLE = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
_UNANSWERED = {"__dlpack__", "untyped_storage", "storage", "_typed_storage"}  # memory that anyone may read
_COMPARING = {"gt", "ge", "lt", "le", "eq", "ne"}
HOST = {"item", "tolist", "numpy", "__array__", *_UNANSWERED, "__repr__"}  # take values out of a tensor
_WAY_OUT = "Nobody can see what it makes of it: take values with .item(), .tolist() or .numpy() instead."
_MOST = 10_000  # reads of one forward


class NeedsValues(Exception):
    """A recorded forward came to an operation that cannot be recorded without computing."""


class Unfollowed(IsopruneError):
    """A forward that takes values out of a tensor in a way that nobody can follow."""


class OtherPath(IsopruneError):
    """A forward reads more values than when it was recorded."""


@dataclass(frozen=True)
class Read:
    """One answer: a number, or the positions that an operation found.

    ``choices``: what an input could have answered instead. ``open``: whether input or weights decide. ``at``:
    the number of operations before it. ``gathered``: the channels that a statistic gathered into it.
    """

    where: str
    value: Any
    choices: tuple[Any, ...] = ()
    open: bool = False
    at: int = 0
    gathered: Planes = ()


@dataclass
class Reads:
    """The answers of one forward, in order: those ``given``, then those that its values give."""

    given: Sequence[Read] = ()
    values: bool = False  # whether values are computed: then orders are recorded too
    complete: bool = False  # whether there are no more than those given
    clock: Callable[[], int] = int  # how many operations ran so far
    made: list[Read] = field(default_factory=list)
    used: int = 0  # how many of those given
    seen: list[Tensor] = field(default_factory=list)  # the float tensors that answers were read from

    @cached_property
    def places(self) -> frozenset[str]:
        """Where answers are given; elsewhere only constants are read."""
        return frozenset(read.where for read in self.given)

    def open_ones(self) -> tuple[Read, ...]:
        """Return the answers at places where input or weights decide, not those of constants alone."""
        places = {read.where for read in self.made if read.open}
        return tuple(read for read in self.made if read.where in places)

    def answer(
        self,
        compute: Callable[[], Any],
        choices: Callable[[Any], tuple] | None = None,
        *,
        open: bool = False,
        gathered: Callable[[], Planes] = tuple,
    ) -> Any:
        """Return the next answer: as given, else computed."""
        where = _place()
        read = self.given[self.used] if self.used < len(self.given) else None
        if read is not None and read.where == where:
            self.used += 1
        elif (self.complete and where in self.places) or len(self.made) >= _MOST:
            due = (
                f", where it did at {read.where} when recorded" if read else " more often than when recorded"
            )
            raise OtherPath(f"The forward reads values at {where}{due}.")
        else:
            value = compute()
            ways = choices(value) if choices else ()
            found = gathered() if ways or type(value) in (float, int) else ()
            read = Read(where, value, ways, open, self.clock(), found)
        self.made.append(read)
        return tree_map_only((Tensor, np.ndarray), deepcopy, read.value)

    def of(self, name: str, flat: Sequence[Any]) -> str:
        """Return how an operation reads values: "scalar", "whole", "masks", "order", or "" if it does not."""
        if name in SCALARS:
            return "scalar"
        if name in _WHOLE:
            return "" if name == "repeat_interleave" and not _by_counts(flat) else "whole"
        if name == "masked_select":
            return "selected"
        if name in _MASKABLE:
            return "masks" if any(_is_mask(a) for a in flat[1:]) else ""
        if self.values and name in _PICKED:
            return "whole"
        return "order" if self.values and name in _ORDERED else ""

    def positions(self, args: Sequence[Any], *, open: bool = False) -> tuple[Any, ...]:
        """Return the arguments of an indexing with positions in place of masks."""
        indices: list[Any] = []
        for index in args[1]:
            if _is_mask(index):
                found = self._mask_positions(index, open)
                indices += found
            else:
                indices.append(index)
        return (args[0], indices, *args[2:])

    def selected(self, args: Sequence[Any], *, open: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Return a tensor and the positions at which `masked_select` picks from it."""
        x, mask = args[0], args[1]
        shape = torch.broadcast_shapes(x.shape, mask.shape)
        return x.expand(shape), list(self._mask_positions(mask.expand(shape), open))

    def _mask_positions(self, mask: Tensor, open: bool) -> tuple[Tensor, ...]:
        choices = partial(other_positions, shape=mask.shape) if open else None
        return self.answer(lambda: mask.nonzero().unbind(1), choices, open=open)

    def ordered(self, name: str, out: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return sorted values and their positions, in the order recorded."""
        positions = out if isinstance(out, Tensor) else out[1]
        positions = self.answer(lambda: positions, open=True)
        if isinstance(out, Tensor):
            return positions
        at = 2 if name == "topk" or (len(args) > 1 and isinstance(args[1], bool | None)) else 1
        dim = args[at] if len(args) > at else kwargs.get("dim", -1)
        x = args[0]
        return (x.gather(dim, positions), positions) if x.dim() else (x, positions)

    def look(self, tensors: Sequence[Tensor]) -> None:
        """Keep the float tensors that an operation reads its answer from."""
        self.seen += [t for t in tensors if t.is_floating_point()]

    def taken(
        self,
        take: Callable[[], Any],
        name: str,
        *,
        open: bool = False,
        gathered: Callable[[], Planes] = tuple,
    ) -> Any:
        """Return what Python takes out of a tensor; comparisons with a number are answers too."""
        if name == "__repr__":
            if open and decided() is not None:
                raise Unfollowed(f"The forward decides by the text of a tensor, at {_place()}. {_WAY_OUT}")
            return "a tensor"  # for a log
        if open and name in _UNANSWERED:
            raise Unfollowed(f"The forward reads memory through {name}, at {_place()}. {_WAY_OUT}")
        if name != "item":  # it reads memory without an operation
            return self.answer(take, others if open else None, open=open, gathered=gathered)
        out = take()
        if self.made and self.made[-1].open and type(out) in (float, int):
            behind = self.made[-1].gathered

            def answered(compute: Callable[[], Any]) -> Any:
                return self.answer(compute, others, open=True, gathered=lambda: behind)

            return number(out, answered)
        return out


class _Replaying(DispatchMode):
    """Gives recorded answers to a forward that is computed."""

    def __init__(self, reads: Reads) -> None:
        super().__init__()
        self.reads = reads

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, reads, name = kwargs or {}, self.reads, operation_name(func)
        flat = list(flattened(args, kwargs))
        how = reads.of(name, flat)
        before, tensors = reads.used, [a for a in flat if isinstance(a, Tensor)]
        if how in ("scalar", "whole"):
            out = reads.answer(lambda: func(*args, **kwargs))
        elif how == "masks":
            return func(*reads.positions(args), **kwargs)
        elif how == "selected":
            return torch.ops.aten.index.Tensor(*reads.selected(args))
        else:
            out = func(*args, **kwargs)
            out = reads.ordered(name, out, args, kwargs) if how == "order" else out
        if reads.used > before or name in _COMPARING:
            reads.look(tensors)
        return out


class ItemWatch(TorchFunctionMode):
    """Lets what Python takes out of a tensor be an answer, and comparisons with it too."""

    def __init__(self, reads: Reads) -> None:
        super().__init__()
        self.reads = reads

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in HOST:
            return self.reads.taken(lambda: func(*args, **(kwargs or {})), name)
        return func(*args, **(kwargs or {}))


@contextmanager
def replayed_reads(reads: Reads) -> Iterator[None]:
    """Give recorded answers to the forward inside, and gather what they are read from in ``reads.seen``."""
    if not reads.given:
        yield
        return
    with ItemWatch(reads), _Replaying(reads):
        yield


def _by_counts(flat: Sequence[Any]) -> bool:
    return len(flat) < 2 or isinstance(flat[1], Tensor)


def _is_mask(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype is torch.bool


def _place() -> str:
    """Return the line of the network's own code that is running."""
    frame = next(frames(), None)
    return (
        f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
        if frame is not None
        else "the forward"
    )
