"""What the finished part of a network makes, kept: a repair comes to each layer by a forward of its own."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only


@dataclass
class _Kept:
    """What a module makes of each chunk that it has seen; what keeping one saves, and takes."""

    seconds: float  # of a chunk
    nbytes: int
    made: dict[int, Any] = field(default_factory=dict)

    @property
    def worth(self) -> float:
        return self.seconds / max(self.nbytes, 1)


class FinishedOutputs:
    """Lets modules hand out what they made before, as long as no layer that still changes runs before it.

    Between two layers of a repair the network changes at one layer, and all that runs before it makes again
    what it made. What saves most seconds a byte is kept, within ``memory``. A module is not kept that runs
    into a layer which is still to come, or that writes into what it is given.

    Args:
        network: In eval mode.
        layers: Those that will change, by name, in the order in which they do, each once.
        chunks: How many chunks of inputs it runs on.
        memory: Bound in bytes.
    """

    def __init__(self, network: nn.Module, layers: Mapping[str, nn.Module], chunks: int, memory: int) -> None:
        self._when = {id(module): i for i, module in enumerate(layers.values())}
        self._chunks, self._memory = chunks, memory
        self._next = 0  # how many are finished
        self._chunk: int | None = None  # that a forward is of
        self._runs: Counter[int] = Counter()
        self._saved = 0.0  # seconds
        self._stale = False  # whether a layer that is still to change has run in this forward
        self._kept: dict[int, _Kept] = {}
        self._modules = {
            id(module): module
            for name, module in network.named_modules()
            if name and any(layer == name or layer.startswith(f"{name}.") for layer in layers)
        } | {id(module): module for module in layers.values()}

    @contextmanager
    def on(self) -> Iterator[None]:
        """Let the modules hand out what is kept; afterwards their forwards are as they were."""
        able = [m for m in self._modules.values() if not isinstance(m, torch.jit.ScriptModule)]
        before = [(module, vars(module).get("forward")) for module in able]
        try:
            for module in able:
                self._wrap(module)
            yield
        finally:
            self._kept.clear()
            for module, forward in before:
                vars(module).pop("forward", None)
                if forward is not None:
                    module.forward = forward

    @contextmanager
    def running(self, layer: nn.Module, chunk: int) -> Iterator[None]:
        """Say that the forward to come is of this chunk, and that all layers before this one are finished."""
        now = self._when[id(layer)]
        if now < self._next:  # a repair that goes back
            self._kept.clear()
        self._next, self._chunk, self._stale = now, chunk, False
        self._runs.clear()
        try:
            yield
        finally:
            self._chunk = None

    def _wrap(self, module: nn.Module) -> None:
        forward, key = module.forward, id(module)

        def either(*args: Any, **kwargs: Any) -> Any:
            chunk = self._chunk
            if chunk is None:
                return forward(*args, **kwargs)
            first = not self._runs[key]
            self._runs[key] += 1
            kept = self._kept.get(key)
            if first and kept is not None and chunk in kept.made:
                self._saved += kept.seconds
                return _cloned(kept.made[chunk])
            self._stale |= self._when.get(key, -1) >= self._next
            before = _versions((args, kwargs))
            began, saved = time.perf_counter(), self._saved
            out = forward(*args, **kwargs)
            if first and not self._stale and before is not None and before == _versions((args, kwargs)):
                # As long as it would take if nothing in it were kept.
                self._keep(module, chunk, out, time.perf_counter() - began + self._saved - saved)
            return out

        module.forward = either

    def _keep(self, module: nn.Module, chunk: int, out: Any, seconds: float) -> None:
        key, leaves = id(module), tree_leaves(out)
        if not all(isinstance(leaf, Tensor) for leaf in leaves):
            return
        if key not in self._kept:
            nbytes = sum(t.nbytes for t in leaves)
            new = _Kept(seconds, nbytes)
            if not self._room_for(module, new):
                return
            self._kept[key] = new
        self._kept[key].made[chunk] = _cloned(out)
        for inner in module.modules():  # is not asked any more
            if inner is not module and (kept := self._kept.get(id(inner))) is not None:
                kept.made.pop(chunk, None)
                if not kept.made:
                    del self._kept[id(inner)]

    def _room_for(self, module: nn.Module, new: _Kept) -> bool:
        """Let go of what is worth less, if that makes room."""
        within = {id(inner) for inner in module.modules()}
        others = {k: v for k, v in self._kept.items() if k not in within}
        free = self._memory - new.nbytes * self._chunks
        free -= sum(kept.nbytes * self._chunks for kept in others.values())
        go: list[int] = []
        for key, kept in sorted(others.items(), key=lambda one: one[1].worth):
            if free >= 0 or kept.worth >= new.worth:
                break
            free += kept.nbytes * self._chunks
            go.append(key)
        if free < 0:
            return False
        for key in go:
            for inner in self._modules[key].modules():  # what they hold may be of a run behind this module's
                self._kept.pop(id(inner), None)
        return True


def _versions(given: Any) -> list[int] | None:
    """Return how often each tensor was written to; None where torch does not count."""
    tensors = [leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]
    return None if any(t.is_inference() for t in tensors) else [t._version for t in tensors]


def _cloned(out: Any) -> Any:
    # What runs behind may write into what it is handed.
    return tree_map_only(Tensor, Tensor.clone, out)
