"""What layers read and make while a network runs, and the sums that their outputs go into."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from isoprune.methods.layers.patches import windows
from isoprune.signals.matrices import CONVOLUTIONS, TRANSPOSED
from isoprune.types.task import forward

_MAPS = (*CONVOLUTIONS, *TRANSPOSED)  # their channels are the second dimension, not the last
_SUMS = {"add", "add_", "__add__", "__iadd__", "__radd__"}
_RELU = {"relu", "relu_"}
# Read no values, or are norms.
_LOOKS = {"__get__", "size", "dim", "numel", "is_floating_point", "batch_norm"}


class Stop(Exception):
    """Raised from a callback: the rest of the forward is not needed."""


@dataclass(frozen=True)
class Site:
    """A layer in the order in which layers first run: whose BatchNorm follows, and whether a sum does.

    The sum is one that the layer's output enters as it is, or after that BatchNorm alone, and whose other
    operand was there before the layer ran: what the layer has to make up for. ``relu``: nothing but a ReLU
    reads the output (or the BatchNorm's).
    """

    name: str
    norm: str | None
    sum: bool
    relu: bool = False


@dataclass
class Callbacks:
    """Callbacks of a watched forward; ``run`` counts how often a layer has run before.

    ``output(name, run, x, y)``: a layer read x and made y. ``other(name, run, t)``: its output is about to be
    added to t. ``total(name, run, t)``: it was, and the sum is t. ``read(name, function)``: a function of
    that name reads it, or what the BatchNorm behind it makes.
    """

    output: Callable[[str, int, Tensor, Tensor], None] = lambda *_: None
    other: Callable[[str, int, Tensor], None] = lambda *_: None
    total: Callable[[str, int, Tensor], None] = lambda *_: None
    read: Callable[[str, str], None] = lambda *_: None


@dataclass(frozen=True)
class _Owner:
    tensor: weakref.ref[Tensor]
    version: int
    layer: str
    run: int
    norm: str | None
    born: int  # when the layer made its output


def sites(model: nn.Module, inputs: Any, layers: Mapping[str, nn.Module]) -> list[Site]:
    """Return the ``layers`` that run, in order, with what follows each."""
    order: dict[str, Site] = {}
    norms: dict[str, str | None] = {}
    readers: dict[str, set[str]] = {}
    probe = Callbacks(
        read=lambda name, function: readers.setdefault(name, set()).add(function),
        output=lambda name, *_: order.setdefault(name, Site(name, None, False)) and None,
        total=lambda name, *_: order.update({name: Site(name, None, True)}),
    )
    watch(model, inputs, layers, probe, norms)
    rectified = {name for name, functions in readers.items() if functions <= _RELU}
    return [Site(name, norms.get(name), site.sum, name in rectified) for name, site in order.items()]


@torch.no_grad()
def watch(
    model: nn.Module,
    inputs: Any,
    layers: Mapping[str, nn.Module],
    probe: Callbacks,
    norms: dict[str, str | None] | None = None,
) -> None:
    """Run ``model`` on ``inputs`` and tell ``probe``; no hook outlives the call.

    ``norms`` is filled with the BatchNorm that each layer's output goes into first.
    """
    sums = _Sums({}, {}, probe)
    runs: dict[str, int] = {}

    def own(out: Tensor, layer: str, run: int, norm: str | None, born: int) -> None:
        sums.owners[id(out)] = _Owner(weakref.ref(out), out._version, layer, run, norm, born)

    with contextlib.ExitStack() as stack:
        for name, module in layers.items():

            def made(_: nn.Module, args: tuple[Any, ...], out: Tensor, name: str = name) -> None:
                run = runs.get(name, 0)
                runs[name] = run + 1
                own(out, name, run, None, sums.births.get(id(out), 0))
                probe.output(name, run, args[0], out)

            stack.callback(module.register_forward_hook(made).remove)
        for name, module in model.named_modules():
            if isinstance(module, _BatchNorm):

                def normed(_: nn.Module, args: tuple[Any, ...], out: Tensor, name: str = name) -> None:
                    owner = _find(sums.owners, args[0])
                    if owner is not None and owner.norm is None:
                        own(out, owner.layer, owner.run, name, owner.born)
                        if norms is not None:
                            norms.setdefault(owner.layer, name)

                stack.callback(module.register_forward_hook(normed).remove)
        with contextlib.suppress(Stop), sums:
            forward(model, inputs)


class _Sums(TorchFunctionMode):
    """Notices sums one of whose operands a layer made; ``births`` orders what functions return."""

    def __init__(self, owners: dict[int, _Owner], births: dict[int, int], probe: Callbacks) -> None:
        super().__init__()
        self.owners, self.births, self.probe = owners, births, probe
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = list(self._operands(args)) if func.__name__ in _SUMS and not kwargs else []
        for owner, other in found:
            self.probe.other(owner.layer, owner.run, other)
        if func.__name__ not in _LOOKS:
            for value in tree_leaves((args, kwargs)):
                if (owner := _find(self.owners, value)) is not None:
                    self.probe.read(owner.layer, func.__name__)
        out = func(*args, **kwargs)
        self.calls += 1
        if isinstance(out, Tensor):
            self.births[id(out)] = self.calls
        for owner, _ in found:
            self.probe.total(owner.layer, owner.run, out)
        return out

    def _operands(self, args: Any) -> Iterator[tuple[_Owner, Tensor]]:
        if len(args) != 2 or not all(isinstance(a, Tensor) for a in args) or args[0].shape != args[1].shape:
            return
        for mine, other in (args, args[::-1]):
            owner = _find(self.owners, mine)
            if owner is not None and self.births.get(id(other), 0) < owner.born:
                yield owner, other


def _find(owners: Mapping[int, _Owner], tensor: Any) -> _Owner | None:
    """Return whose output ``tensor`` is, unless something wrote into it since."""
    owner = owners.get(id(tensor))
    if owner is None or owner.tensor() is not tensor or owner.version != tensor._version:
        return None
    return owner


def places(y: Tensor, layer: nn.Module, most: int, generator: torch.Generator) -> Tensor:
    """Return up to ``most`` output positions of every sample, [samples, places], drawn without repetition."""
    n, size = as_positions(y, layer).shape[:2]
    if size <= most:
        return torch.arange(size).expand(n, size)
    return torch.rand(n, size, generator=generator).argsort(1)[:, :most]


def made_at(y: Tensor, layer: nn.Module, where: Tensor) -> Tensor:
    """Return the outputs [samples, places, channels] at ``where``."""
    flat = as_positions(y, layer)
    return flat.gather(1, where[..., None].expand(-1, -1, flat.shape[2]))


def read_at(x: Tensor, layer: nn.Module, where: Tensor, made: Tensor | None = None) -> Tensor:
    """Return what the filters read there: [samples, places, groups, fan_in].

    ``made`` is the layer's output, whose sizes a transposed convolution may have been given in the call.
    """
    if not isinstance(layer, _MAPS):
        return made_at(x, layer, where)[:, :, None]
    seen = windows(layer, x, None if made is None else made.shape[2:])
    taps = len(layer.kernel_size)
    at = torch.unravel_index(where, seen.shape[1 : -1 - taps])
    picked = seen[torch.arange(len(x))[:, None].expand_as(where), *at]
    if isinstance(layer, TRANSPOSED):
        picked = picked.flip(tuple(range(-taps, 0)))  # as its weights lie
    return picked.reshape(*where.shape, layer.groups, -1)


def as_positions(t: Tensor, layer: nn.Module) -> Tensor:
    """Return what a layer made, or a Linear read, as [samples, positions, channels]."""
    if isinstance(layer, _MAPS):
        return (t.flatten(2) if t.ndim > 2 else t[..., None]).mT
    if t.ndim == 3 and getattr(layer, "sequence_first", False):
        t = t.transpose(0, 1)
    return t.reshape(len(t), -1, t.shape[-1])
