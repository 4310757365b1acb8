"""The config of a network of transformers follows its tensors, so that `from_pretrained` makes it anew.

A config says one width for all layers, so all must have lost equally much (the default allocation does that),
and what the class computes from the config must be what the smaller network computes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from isoprune.graph.cloning import named_modules, tensor_names
from isoprune.pruning import Pruned
from isoprune.pruning.rehearsal import Rehearsal, rehearse
from isoprune.pruning.shrink import outline

_LOAD = "isoprune.save and isoprune.load keep it as it is"
_UNSET = ("head_dim", "n_inner", "intermediate_size", "d_kv")  # None: made of others


def follow_config(pruned: Pruned) -> Pruned:
    """Return a pruned network with the config that makes one of its sizes; of other libraries, as it is.

    The last entry of its history says under "config" whether it followed, or why it does not. Cost: a network
    on the meta device for every size that is tried, and two recorded forwards.
    """
    model = pruned.model
    if not pruned.plan or not any(c.__name__ == "PreTrainedModel" for c in type(model).__mro__):
        return pruned
    found = _Search(pruned).config()
    if isinstance(found, str):
        said = f"its config does not follow: {found}; {_LOAD}"
    else:
        said = "follows"
        for (path, key), value in found.items():
            setattr(_part(model.config, path), key, value)
    entry = {**pruned.history[-1], "config": said}
    return replace(pruned, history=(*pruned.history[:-1], entry))


Key = tuple[str, str]  # where in the config (a part's name, or ""), and the key


@dataclass(frozen=True)
class _Search:
    """Looks for the values of a config that give the sizes of a smaller network."""

    pruned: Pruned

    def config(self) -> dict[Key, Any] | str:
        """Return what changes in the config, or why none makes this network."""
        small = self.pruned.model
        changed: dict[Key, Any] = {}
        least, proposals = self._misfits(changed), list(self._proposals())
        while least:
            tried = [{**changed, **more} for more in proposals]
            misfits = [self._misfits(one) for one in tried]
            best = min(range(len(tried)), key=misfits.__getitem__, default=None)
            if best is None or misfits[best] >= least:
                return f"no config makes {self._first_misfit(changed)}"
            changed, least = tried[best], misfits[best]
        fresh = self._made(changed)
        cut = self.pruned.graph.tensors
        for name, module in named_modules(small):
            for key in module._non_persistent_buffers_set:
                full = f"{name}.{key}".lstrip(".")
                now = module._buffers.get(key)
                if full in cut and now is not None and now.shape != cut[full][1]:
                    return f"{full} is made of the config, and those that were left are others"
        fresh = fresh.to_empty(device="cpu").to(next(small.parameters()).dtype)
        for name, own in small.named_buffers():  # positions, which are read
            buffer = fresh.get_buffer(name)
            if buffer.shape == own.shape:
                buffer.copy_(own)
        return changed if self._same(fresh) else "the class scales by a width that the config says"

    def _same(self, fresh: nn.Module) -> bool:
        """Tell whether a network runs the recorded forward as the smaller one does."""
        graph, plan = self.pruned.graph, self.pruned.plan
        kept = graph.kept_ids(plan)
        mine = rehearse(outline(self.pruned.dense, graph, plan), graph, kept)
        theirs = rehearse(fresh, graph, kept)
        return theirs.misfit is None and _factors(mine) == _factors(theirs)

    def _made(self, changed: Mapping[Key, Any]) -> nn.Module:
        model = self.pruned.model
        config: Any = copy.deepcopy(self.pruned.dense.config)
        for (path, key), value in changed.items():
            setattr(_part(config, path), key, value)
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return type(model)(config)

    def _sizes(self, changed: Mapping[Key, Any]) -> dict[str, torch.Size]:
        return {name: t.shape for name, t in self._made(changed).state_dict().items()}

    def _misfits(self, changed: Mapping[Key, Any]) -> float | int:
        """Return how many dimensions a network of the config has that the smaller one has not."""
        try:
            sizes = self._sizes(changed)
        except Exception:  # whatever a class raises on a config that makes no network
            return float("inf")
        want = {name: t.shape for name, t in self.pruned.model.state_dict().items()}
        if sizes.keys() != want.keys() or any(len(sizes[n]) != len(want[n]) for n in want):
            return float("inf")
        return sum(a != b for n in want for a, b in zip(sizes[n], want[n], strict=True))

    def _first_misfit(self, changed: Mapping[Key, Any]) -> str:
        try:
            sizes = self._sizes(changed)
        except Exception as error:
            return f"it ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
        names = ((n, tuple(t.shape)) for n, t in self.pruned.model.state_dict().items())
        return next((f"{n} {shape}" for n, shape in names if tuple(sizes.get(n, ())) != shape), "it")

    def _proposals(self) -> Iterator[dict[Key, Any]]:
        """Yield changes of the config that sizes of the smaller network may have come of.

        Of a key, and of all keys together that had the same value.
        """
        together: dict[tuple[int, int], dict[Key, Any]] = {}
        for key, old, value in self._single_proposals():
            yield {key: value}
            if isinstance(old, int):
                together.setdefault((old, value), {})[key] = value
        yield from (change for change in together.values() if len(change) > 1)

    def _single_proposals(self) -> Iterator[tuple[Key, Any, Any]]:
        """Yield keys of the config, what they had, and values to try."""
        before = {name: t.shape for name, t in tensor_names(self.pruned.dense).values()}
        new: dict[int, set[int]] = {}
        for name, t in tensor_names(self.pruned.model).values():
            for a, b in zip(before.get(name, ()), t.shape, strict=False):
                if a != b:
                    new.setdefault(a, set()).add(b)
        entries = list(_entries(self.pruned.dense.config))
        counts = {value for _, value in entries if isinstance(value, int)}
        for key, value in entries:
            if value is None:
                yield from ((key, None, n) for n in sorted(set().union(*new.values())))
            elif isinstance(value, int):
                parts = {b // c for c in counts for b in new.get(value * c, ()) if b % c == 0}
                yield from ((key, value, n) for n in sorted(new.get(value, set()) | parts) if n != value)
            else:
                options = [sorted(new.get(v, {v}))[0] for v in value]
                if any(a != b for a, b in zip(options, value, strict=True)):
                    yield key, value, type(value)(options)


def _factors(found: Rehearsal) -> set[tuple[float, tuple[str, ...]]]:
    return {(round(drift.factor, 9), tuple(sorted(drift.scaled))) for drift in found.drifts}


def _entries(config: Any) -> Iterator[tuple[Key, Any]]:
    """Yield the integers (and lists of them) of a config and of its parts."""
    parts = {"": config}
    parts |= {key: part for key, part in vars(config).items() if hasattr(part, "to_diff_dict")}
    for path, part in parts.items():
        for key, value in vars(part).items():
            whole = type(value) is int and value > 1
            several = isinstance(value, list | tuple) and value and all(type(v) is int for v in value)
            if not key.startswith("_") and (whole or several or (value is None and key in _UNSET)):
                yield (path, key), value


def _part(config: Any, path: str) -> Any:
    return getattr(config, path) if path else config
