"""The dispatch mode that records a forward: it keeps the ledger of channel ids, operation by operation.

The forward is not computed. An operation that touches activations or weights only has its output's
shape worked out (on the meta device) and gets memory that nobody writes to; integer arithmetic on
constants (window partitions, relative positions, masks) runs for real. Python control flow needs no
care, and a trace costs milliseconds, not a forward's floating-point operations. Where a forward reads
its own values (`nonzero`, a branch on a mean), it is computed after all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import CodeType
from typing import Any

import torch
from torch import Tensor

from isoprune.graph.call import Call
from isoprune.graph.dispatch_mode import DispatchMode
from isoprune.graph.gathering import Gathering
from isoprune.graph.labels import Plane, Planes, broadcast, distinct
from isoprune.graph.layouts import Layout, fresh
from isoprune.graph.ledger import CONSTANT, Ledger
from isoprune.graph.memory import memory_of
from isoprune.graph.operations import Operation, operation_of
from isoprune.graph.other_answers import other_results
from isoprune.graph.reads import NeedsValues, Reads
from isoprune.graph.recording import Node
from isoprune.graph.rules.picking import cut_by_value
from isoprune.graph.scalars import numbers_of, values_of
from isoprune.graph.shape_inference import flattened, on_zeros, shape_only
from isoprune.graph.sizes import SizeClaim
from isoprune.graph.tensor_facts import TensorFacts


@dataclass
class Tracer(DispatchMode):
    """Runs a forward on memory that is never written, and keeps the ledger of channel ids."""

    names: dict[int, tuple[str, Tensor]]
    watch: bool = True  # False: only shapes are wanted, no labels
    ledger: Ledger = field(default_factory=Ledger)
    nodes: list[Node] = field(default_factory=list)
    claims: list[SizeClaim] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    readers: dict[int, Tensor] = field(default_factory=dict)  # first out id -> the ids that were read
    layouts: Mapping[str, Layout] = field(default_factory=dict)  # of parameters, by name
    attributes: Mapping[int, str] = field(default_factory=dict)  # memory -> a tensor that is no buffer
    wishes: dict[str, Layout] = field(default_factory=dict)  # what operations would have them be
    gathering: Gathering = field(default_factory=partial(Gathering, ()))
    counts: set[int] = field(default_factory=set)  # integers that were read of values
    reads: Reads = field(default_factory=Reads)  # what the forward learns from values
    size_readers: set[CodeType | None] = field(default_factory=set)  # the code that asks for sizes
    facts: TensorFacts = field(init=False)
    _only_sized: set[int] = field(default_factory=set)  # weights of which nothing was read but sizes
    _owners: dict[int, Tensor] = field(init=False)  # memory -> the parameter or buffer whose it is

    def __post_init__(self) -> None:
        super().__init__()
        self.facts = TensorFacts(self.names.keys())
        self._owners = {memory_of(tensor): tensor for _, tensor in self.names.values()}

    def begin(self) -> None:
        """Start a call: buffers of integers that an earlier one wrote data into are constants again."""
        owned = (t for _, t in self.names.values())
        self.facts.forget_data(t for t in owned if not (t.is_floating_point() or t.is_complex()))

    def planes(self, tensor: Tensor) -> Planes:
        facts = self.facts.get(tensor)
        return () if facts is None or facts.planes is None else facts.planes

    def labelled(self, tensor: Tensor) -> bool:
        """Tell whether the tensor was seen to depend on activations or weights."""
        facts = self.facts.get(tensor)
        return facts is not None and facts.planes is not None

    def known(self, tensor: Tensor, *, integers: bool = False) -> bool:
        """Tell whether the tensor depends on activations or weights; label a weight at first sight."""
        if self.labelled(tensor):
            self._only_sized.discard(id(tensor))
            return True
        counted = integers and tensor.numel() > 1
        if id(tensor) in self.names and (counted or tensor.is_floating_point() or tensor.is_complex()):
            self.mark(tensor, self._fresh(self.names[id(tensor)][0], tensor))
            return True
        return self.facts.adopted(tensor)

    def _fresh(self, name: str, tensor: Tensor) -> Planes:
        return fresh(self.ledger, name, tensor.shape, self.layouts.get(name)) if self.watch else ()

    def planes_of_sizes(self, tensor: Tensor) -> Planes:
        """Return the planes of a tensor whose sizes are asked for, perhaps of a weight before it is read."""
        if id(tensor) in self.names and not self.labelled(tensor) and self.known(tensor):
            self._only_sized.add(id(tensor))
        return self.planes(tensor)

    def took_part(self, tensor: Tensor) -> bool:
        """Tell whether an operation read a parameter or buffer."""
        return self.labelled(tensor) and id(tensor) not in self._only_sized

    def label_constant(self, tensor: Tensor, dims: Sequence[int]) -> None:
        """Label a constant of equal values along the dimensions whose size was that of channels."""
        facts = self.facts.of(tensor)
        facts.blank = facts.activation = True
        self.mark(tensor, [p for p in self._fresh(CONSTANT, tensor) if p.dims[0] in dims])

    def mark(self, tensor: Tensor, planes: Sequence[Plane]) -> None:
        self.facts.mark(tensor, distinct(planes))

    def is_weight(self, tensor: Tensor) -> bool:
        """Tell whether the tensor is made of parameters alone, whatever the input."""
        return self.known(tensor) and not self.facts.of(tensor).activation

    def read_positions(self, tensor: Tensor, where: str) -> None:
        """Freeze the channels among which a tensor, if it holds positions, was found."""
        facts = self.facts.get(tensor)
        if facts is not None and facts.positions:
            self.ledger.freeze(facts.positions, f"{where} reads positions among them")

    def attribute_of(self, tensors: Sequence[Tensor]) -> str | None:
        """Return the name of a plain attribute that one of these tensors is, or is a view of."""
        found = (self.attributes.get(memory_of(t)) for t in tensors if not self.known(t))
        return next((name for name in found if name is not None), None)

    def tensors(self) -> dict[str, tuple[Planes, torch.Size]]:
        """Return the planes and the shape of every parameter and buffer that took part."""
        return {
            name: (self.planes(tensor), tensor.shape)
            for name, tensor in self.names.values()
            if self.took_part(tensor)
        }

    def take_input(self, tensor: Tensor) -> None:
        """Follow an input: float inputs carry channels, others decide branches."""
        facts = self.facts.of(tensor)
        if tensor.is_floating_point() or tensor.is_complex():
            self.mark(tensor, ())
            facts.activation = True
        else:
            facts.loose, facts.flag = True, tensor.numel() == 1

    @property
    def computes(self) -> bool:
        """Whether the forward can read values: they are computed, or recorded ones are replayed."""
        return self.reads.values or self.reads.complete

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunction():  # a function of TorchScript leaves what watches Python on
            return self._run(func, args, kwargs or {})

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        operation = operation_of(func)
        flat = list(flattened(args, kwargs))
        tensors = [a for a in flat if isinstance(a, Tensor)]
        touched = [self.known(t, integers=operation.integers) for t in tensors]
        module = self.modules[-1] if self.modules else ""
        where = f"{operation.name} in {module or 'the network'}"
        how = self.reads.of(operation.name, flat)
        if how in ("scalar", "whole"):
            return self._answer(func, args, kwargs, tensors, any(touched), where)
        if how in ("masks", "selected"):
            func, args, kwargs = self._positions(how, func, args, kwargs, where)
            operation, flat = operation_of(func), list(flattened(args, kwargs))
            tensors = [a for a in flat if isinstance(a, Tensor)]
            touched = [self.known(t) for t in tensors]
        if operation.family == "constant" or not any(touched):
            return self._constant(func, args, kwargs, tensors)
        constants = values_of([t for t, depends in zip(tensors, touched, strict=True) if not depends])
        out = self._made(func, operation, args, kwargs, where)  # it may write values into a constant
        if how == "order":
            out = self.reads.ordered(operation.name, out, args, kwargs)
        outs = [o for o in flattened((out,), {}) if isinstance(o, Tensor)]
        with torch._C._DisableTorchDispatch():  # labels are no operations of the network
            self._record(func, Call(operation, where, args, kwargs, tensors, outs), module, constants)
        return out

    def _record(self, func: Any, call: Call, module: str, constants: tuple[str, ...]) -> None:
        """Label what an operation made by what came in, and record the operation."""
        operation, args, tensors, outs = call.operation, call.args, call.tensors, call.outs
        for t in tensors:
            self.read_positions(t, call.where)
        if self.counts and self.watch:
            cut_by_value(self, call)
        planes = operation.rule(self, call) if self.watch else [()] * len(outs)
        inputs = tuple((self.planes(t), t.shape) for t in tensors)
        of_weights = not any(facts.activation or facts.loose for facts in self.facts.each(tensors))
        if not of_weights:
            for t in (*outs, *self._written(outs, tensors)):
                self.facts.of(t).activation = True
        for o, p in zip(outs, planes, strict=True):
            if not operation.host or o.is_floating_point():
                self.mark(o, p)
        outputs = tuple((self.planes(o), o.shape) for o in outs)
        numbers = tuple(numbers_of(func, args, call.kwargs))
        keys = tuple(map(self.facts.key, tensors)), tuple(self.facts.of(o).key for o in outs)
        picks = tuple(args[1:]) if call.op in ("slice", "select") else ()
        over = operation.over(args, call.kwargs, tensors[0].dim()) if operation.over else ()
        facts = call.op == "convolution" and args[6] is True, of_weights, picks, frozenset(over), constants
        self.nodes.append(Node(numbers, *keys, operation, module, inputs, outputs, *facts))

    def _written(self, outs: Sequence[Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the buffers into a part of which an operation wrote: from now on they hold data."""
        places = {memory_of(o) for o in outs if any(o is t for t in tensors)}
        return [self._owners[place] for place in places if place in self._owners]

    def host(self, take: Callable[[], Any], name: str, tensor: Tensor) -> Any:
        """Return what Python takes out of a tensor (`item`, `tolist`)."""
        if name not in ("item", "__repr__") and self.known(tensor):
            if not self.computes:
                raise NeedsValues(f"{name} in {self.modules[-1] if self.modules else 'the network'}")
            self.ledger.freeze(self.planes(tensor), f"{name} reads its values")
        known = self.known(tensor)
        gathered = self._gathered([tensor]) if known else tuple
        return self.reads.taken(take, name, open=known or self._is_loose([tensor]), gathered=gathered)

    def _constant(self, func: Any, args: Any, kwargs: Any, tensors: Sequence[Tensor]) -> Any:
        """Run an operation on constants for real, and follow what is made of inputs."""
        out = func(*args, **kwargs)
        if self._is_loose(tensors):
            flag = any(facts.flag for facts in self.facts.each(tensors))
            for o in flattened((out,), {}):
                if isinstance(o, Tensor):
                    facts = self.facts.of(o)
                    facts.loose, facts.flag = True, facts.flag or flag
        return out

    def _is_loose(self, tensors: Sequence[Tensor]) -> bool:
        """Tell whether one of these is made of inputs that are no floats."""
        return any(facts.loose for facts in self.facts.each(tensors))

    def _gathered(self, tensors: Sequence[Tensor]) -> Callable[[], Planes]:
        return partial(self.gathering.behind, [self.facts.key(t) for t in tensors])

    def _made(self, func: Any, operation: Operation, args: Any, kwargs: Any, where: str) -> Any:
        """Return what an operation makes: computed where values are needed, else only its shape."""
        if self.reads.values and not self.reads.complete:
            return func(*args, **kwargs)
        if operation.host:
            return on_zeros(func, args, kwargs)
        try:
            return shape_only(func, operation, args, kwargs)
        except Exception as error:
            if self.reads.complete and not self.reads.values:
                raise
            if self.reads.complete:
                return on_zeros(func, args, kwargs)
            raise NeedsValues(where) from error

    def _answer(
        self, func: Any, args: Any, kwargs: Any, tensors: Sequence[Tensor], known: bool, where: str
    ) -> Any:
        """Return what values answer; their channels stay."""
        if known and not self.computes:
            raise NeedsValues(where)
        open = known or self._is_loose(tensors)
        flag = any(facts.flag for facts in self.facts.each(tensors))
        out = self.reads.answer(
            lambda: func(*args, **kwargs),
            partial(other_results, operation_of(func).name, tensors, flag) if open else None,
            open=open,
            gathered=self._gathered(tensors) if known else tuple,
        )
        if open and type(out) is int:
            self.counts.add(out)
        if known:
            for t in tensors:
                self.ledger.freeze(self.planes(t), f"{where} reads its values")
                self.read_positions(t, where)
            self._follow(out)
        return out

    def _positions(self, how: str, func: Any, args: Any, kwargs: Any, where: str) -> tuple[Any, Any, Any]:
        """Return an indexing by masks as one by positions."""
        masks = [m for m in flattened(args[1:2], {}) if isinstance(m, Tensor) and m.dtype is torch.bool]
        known = any(self.known(m) for m in masks)
        if known and not self.computes:
            raise NeedsValues(where)
        open = known or self._is_loose(masks)
        if how == "masks":
            args = self.reads.positions(args, open=open)
        else:
            whole, planes = args[0], self.planes(args[0])
            args = self.reads.selected(args, open=open)
            func, kwargs = torch.ops.aten.index.Tensor, {}
            if args[0] is not whole and self.known(whole):
                self.mark(args[0], [broadcast(p, args[0].shape) for p in planes])
        if known:
            self._follow(args[1])
        return func, args, kwargs

    def _follow(self, answers: Any) -> None:
        """Mark positions that values gave: whoever picks by them is told."""
        for t in flattened((answers,), {}):
            if isinstance(t, Tensor):
                self.mark(t, ())
                self.facts.of(t).activation = True
