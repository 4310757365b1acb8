"""One recorded forward: every activation carries the ids of its channels.

The forward is not computed. An operation that touches activations or weights only has its output's
shape worked out (on the meta device) and gets memory that nobody writes to; integer arithmetic on
constants (window partitions, relative positions, masks) runs for real. Python control flow needs no
care, and a trace costs milliseconds, not a forward's floating-point operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from isoprune.graph.cloning import clone_sharing, named_modules, tensor_names
from isoprune.graph.fixed_kernels import steady
from isoprune.graph.groups import Graph, build
from isoprune.graph.labels import Plane, Planes, distinct, spread
from isoprune.graph.ledger import Ledger
from isoprune.graph.operations import Operation, operation_of
from isoprune.graph.recording import Node, Recording
from isoprune.graph.refusal import refusal
from isoprune.graph.shape_inference import flattened, shape_only
from isoprune.graph.sizes import Claim, SizeWatch, named_sizes
from isoprune.types.collector import uncollected


@dataclass
class Call:
    """What a rule sees of one operation."""

    operation: Operation
    where: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tensors: list[Tensor]
    outs: list[Tensor]

    @property
    def op(self) -> str:
        return self.operation.name


@dataclass
class Tracer(TorchDispatchMode):
    """Runs a forward on memory nobody writes to and keeps the ledger of channel ids."""

    names: dict[int, tuple[str, Tensor]]
    watch: bool = True  # False: only shapes are wanted, no labels
    ledger: Ledger = field(default_factory=Ledger)
    nodes: list[Node] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    labels: dict[int, tuple[Tensor, Planes]] = field(default_factory=dict)
    modules: list[str] = field(default_factory=list)
    readers: dict[int, Tensor] = field(default_factory=dict)  # first out id -> the ids that were read
    activations: set[int] = field(default_factory=set)
    positions: dict[int, tuple[Tensor, list[Plane]]] = field(default_factory=dict)  # along these planes
    uniform: bool = False  # whether a constant was labelled
    _storages: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, which takes longer than all of this

    def planes(self, tensor: Tensor) -> Planes:
        return self.labels[id(tensor)][1] if id(tensor) in self.labels else ()

    def known(self, tensor: Tensor) -> bool:
        """Tell whether the tensor depends on activations or weights; label a weight at first sight."""
        if id(tensor) in self.labels:
            return True
        if id(tensor) in self.names and tensor.is_floating_point():
            self.mark(tensor, self._fresh(self.names[id(tensor)][0], tensor))
            return True
        if tensor.untyped_storage()._cdata in self._storages:
            self.mark(tensor, ())
            return True
        return False

    def _fresh(self, name: str, tensor: Tensor) -> Planes:
        return tuple(
            Plane(spread(self.ledger.block(name, d, n), tensor.shape, (d,)))
            for d, n in enumerate(tensor.shape)
            if n > 1 and self.watch
        )

    def label_constant(self, tensor: Tensor, dims: Sequence[int]) -> None:
        """Label a constant of equal values along the dimensions whose size a module's attribute gave."""
        self.uniform = True
        self.activations.add(id(tensor))
        self.mark(tensor, [p for p in self._fresh("(constant)", tensor) if p.dims[0] in dims])

    def mark(self, tensor: Tensor, planes: Sequence[Plane]) -> None:
        self.labels[id(tensor)] = (tensor, distinct(planes))
        self._storages.add(tensor.untyped_storage()._cdata)

    def is_weight(self, tensor: Tensor) -> bool:
        """Tell whether the tensor is made of parameters alone, whatever the input."""
        return self.known(tensor) and id(tensor) not in self.activations

    def read_positions(self, tensor: Tensor, where: str) -> None:
        """Freeze the channels among which a tensor, if it holds positions, was found."""
        if id(tensor) in self.positions:
            self.ledger.freeze(self.positions[id(tensor)][1], f"{where} reads positions among them")

    def relabel_weight(self, weight: Tensor, dim: int, ids: Tensor, where: str) -> None:
        """Let ``ids`` stand for dimension ``dim`` of a weight whose own count starts anew in every group."""
        planes = self.planes(weight)
        mine = [p for p in planes if dim in p.dims]
        if id(weight) in self.names and not any(len(p.dims) > 1 for p in mine):
            others = [p for p in planes if dim not in p.dims]
            self.mark(weight, [*others, Plane(ids)])
        elif any(len(p.dims) > 1 for p in mine):
            self.ledger.unify(next(p.ids for p in mine if len(p.dims) > 1), ids, where)
        else:
            self.ledger.freeze([Plane(ids), *mine], f"{where}: a computed grouped weight")

    def tensors(self) -> dict[str, tuple[Planes, torch.Size]]:
        """Return the planes and the shape of every parameter and buffer that took part."""
        return {
            name: (self.planes(tensor), tensor.shape)
            for key, (name, tensor) in self.names.items()
            if key in self.labels
        }

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operation = operation_of(func)
        flat = list(flattened(args, kwargs))
        tensors = [a for a in flat if isinstance(a, Tensor)]
        touched = [self.known(t) for t in tensors]
        if operation.family == "constant" or not any(touched):
            return func(*args, **kwargs)
        if operation.name == "_local_scalar_dense":
            return 0
        out = shape_only(func, operation, args, kwargs)
        outs = [o for o in flattened((out,), {}) if isinstance(o, Tensor)]
        module = self.modules[-1] if self.modules else ""
        where = f"{operation.name} in {module or 'the network'}"
        call = Call(operation, where, args, kwargs, tensors, outs)
        for t in tensors:
            self.read_positions(t, where)
        planes = operation.rule(self, call) if self.watch else [()] * len(outs)
        inputs = tuple((self.planes(t), t.shape) for t in tensors)
        if any(id(t) in self.activations for t in tensors):
            self.activations.update(map(id, outs))
        for o, p in zip(outs, planes, strict=True):
            self.mark(o, p)
        outputs = tuple((self.planes(o), o.shape) for o in outs)
        numbers = tuple(a for a in flat if type(a) is float)
        keys = tuple(map(id, tensors)), tuple(map(id, outs))
        transposed = operation.name == "convolution" and args[6] is True
        self.nodes.append(Node(numbers, *keys, operation, module, inputs, outputs, transposed))
        return out


@contextmanager
def _module_names(model: nn.Module, tracer: Tracer) -> Iterator[None]:
    """Keep ``tracer.modules`` the stack of the modules that are running.

    A forward of the module's own is put over that of its class, and taken off: hooks cost more.
    """
    named = [(name, module) for name, module in named_modules(model) if type(module) is not nn.Identity]
    before = [(vars(module), vars(module).get("forward", module)) for _, module in named]

    def announced(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(forward)
        def run(*args: Any, **kwargs: Any) -> Any:
            tracer.modules.append(name)
            try:
                return forward(*args, **kwargs)
            finally:
                tracer.modules.pop()

        return run

    try:
        for name, module in named:
            vars(module)["forward"] = announced(name, module.forward)
        yield
    finally:
        for (attributes, forward), (_, module) in zip(before, named, strict=True):
            if forward is module:
                attributes.pop("forward", None)
            else:
                attributes["forward"] = forward


def run(model: nn.Module, example_inputs: Any, tracer: Tracer) -> Any:
    """Run ``model``'s forward under ``tracer``; the model's tensors are read for their shapes only."""
    args, kwargs = as_call(example_inputs)
    watch = SizeWatch(tracer.claims, tracer.planes, tracer.label_constant)
    with torch.no_grad(), steady(), _module_names(model, tracer), watch, tracer:
        return model(*args, **kwargs)


def as_call(example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and keyword arguments that ``example_inputs`` stands for."""
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    if isinstance(example_inputs, tuple | list):
        return tuple(example_inputs), {}
    return (example_inputs,), {}


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the float tensors of a model's output: tensors, sequences, mappings, dataclasses of them."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for item in vars(value).values():
            yield from tensors_in(item)


def record(
    model: nn.Module, example_inputs: Any, *, watch: bool = True, nodes: list[Node] | None = None
) -> tuple[Tracer, Any]:
    """Return the tracer and the (untouched) output of one recorded forward of ``model``.

    ``nodes`` is filled as the forward goes, so it says how far one came that did not end.
    """
    tracer = Tracer(tensor_names(model), watch=watch, nodes=[] if nodes is None else nodes)
    inputs = [t for t in tree_flatten(as_call(example_inputs))[0] if isinstance(t, Tensor)]
    for tensor in inputs:
        if tensor.is_floating_point():
            tracer.mark(tensor, ())
            tracer.activations.add(id(tensor))
    return tracer, run(model, example_inputs, tracer)


def trace(model: nn.Module, example_inputs: Any) -> Graph:
    """Return the channel groups of ``model``, what is frozen and why.

    Cost: one forward in which nothing is computed; memory: the labels of the activations.

    Args:
        model: Any module; read, never written to.
        example_inputs: What its forward takes: a tensor, a tuple of arguments, or a dict of keywords.

    Raises:
        IsopruneError: If the forward does not run on ``example_inputs``.
    """
    with uncollected():
        return _traced(model, example_inputs)


def _traced(model: nn.Module, example_inputs: Any) -> Graph:
    clone, nodes = clone_sharing(model).eval(), []
    with named_sizes(clone):
        try:
            tracer, output = record(clone, example_inputs, nodes=nodes)
        except Exception as error:
            plain = clone_sharing(model).eval()
            raise refusal(plain, example_inputs, error, nodes, as_call(example_inputs)) from error
    for tensor in (leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor)):
        tracer.read_positions(tensor, "the network's output")
    for tensor in tensors_in(output):
        tracer.ledger.freeze(tracer.planes(tensor), "the network's output")
    names = {key: name for key, (name, _) in tracer.names.items()}
    recording = Recording(
        example_inputs, tracer.tensors(), tracer.nodes, tracer.claims, names, tracer.uniform
    )
    return build(recording, tracer.ledger)
