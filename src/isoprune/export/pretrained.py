"""Updates the config of a transformers network to its pruned sizes, so that `from_pretrained` loads it.

A config says one width for all layers, so all must have lost equally much (the default allocation does that),
and what the class computes from the config must be what the smaller network computes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from isoprune.graph.cloning import named_modules, runnable_copy, tensor_names
from isoprune.graph.entries import EntryPoint
from isoprune.graph.inputs import copied_inputs
from isoprune.pruning import Pruned
from isoprune.pruning.discrepancy import discrepancy
from isoprune.pruning.rehearsal import Rehearsal, rehearse
from isoprune.pruning.shrink import outline
from isoprune.types.seeded import lent_generators
from isoprune.types.units import DEPTH

_LOAD = "isoprune.save and isoprune.load keep it as it is"
_UNSET = ("head_dim", "n_inner", "intermediate_size", "d_kv")  # None: made of others


def follow_config(pruned: Pruned) -> Pruned:
    """Return a pruned transformers network with a config of its sizes; networks of others as they are.

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
        least = self._misfits(changed)
        while least:
            tried = [{**changed, **more} for more in self._proposals(changed)]
            misfits = [self._misfits(one) for one in tried]
            best = min(range(len(tried)), key=misfits.__getitem__, default=None)
            if best is None or misfits[best] >= least:
                return f"no config makes {self._first_misfit(changed)}"
            changed, least = tried[best], misfits[best]
        if self.pruned.plan.grain == DEPTH:
            return changed if self._gives_the_same(changed) else "a network of it gives something else"
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

    @torch.no_grad()
    def _gives_the_same(self, changed: Mapping[Key, Any]) -> bool:
        """Tell whether a network of the config, with the weights, gives what the less deep one does."""
        small = runnable_copy(self.pruned.model)
        fresh = self._made(changed, "cpu").to(next(small.parameters()).dtype)
        fresh.load_state_dict(small.state_dict())
        entry = EntryPoint(self.pruned.example_inputs)
        want, got = (entry.run(m, copied_inputs(entry.inputs)) for m in (small, fresh))
        return discrepancy(want, got).relative < 1e-5

    def _made(self, changed: Mapping[Key, Any], device: str = "meta") -> nn.Module:
        model = self.pruned.model
        with lent_generators(), torch.device(device):
            return type(model)(self._config_of(changed))

    def _config_of(self, changed: Mapping[Key, Any]) -> Any:
        config: Any = copy.deepcopy(self.pruned.dense.config)
        for (path, key), value in changed.items():
            setattr(_part(config, path), key, value)
        return config

    def _sizes(self, changed: Mapping[Key, Any]) -> dict[str, torch.Size]:
        return {name: t.shape for name, t in self._made(changed).state_dict().items()}

    def _misfits(self, changed: Mapping[Key, Any]) -> float | int:
        """Return by how many dimensions, or whole tensors, a network of the config is another one."""
        try:
            sizes = self._sizes(changed)
        except Exception:  # whatever a class raises on a config that makes no network
            return float("inf")
        want = {name: t.shape for name, t in self.pruned.model.state_dict().items()}
        both = sizes.keys() & want.keys()
        if any(len(sizes[n]) != len(want[n]) for n in both):
            return float("inf")
        others = len(sizes.keys() ^ want.keys())
        return others + sum(a != b for n in both for a, b in zip(sizes[n], want[n], strict=True))

    def _first_misfit(self, changed: Mapping[Key, Any]) -> str:
        try:
            sizes = self._sizes(changed)
        except Exception as error:
            return f"it ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
        names = ((n, tuple(t.shape)) for n, t in self.pruned.model.state_dict().items())
        return next((f"{n} {shape}" for n, shape in names if tuple(sizes.get(n, ())) != shape), "it")

    def _proposals(self, changed: Mapping[Key, Any]) -> Iterator[dict[Key, Any]]:
        """Yield changes of the config that sizes of the smaller network may have come of.

        Of a key, and of all keys together that had the same value.
        """
        entries = list(_entries(self._config_of(changed)))
        if self.pruned.plan.grain == DEPTH:
            for kept in self.pruned.plan.kept.values():
                yield from _shorter(self._config_of(changed), kept.tolist())
            return
        together: dict[tuple[int, int], dict[Key, Any]] = {}
        for key, old, value in self._single_proposals(entries):
            yield {key: value}
            if isinstance(old, int):
                together.setdefault((old, value), {})[key] = value
        yield from (change for change in together.values() if len(change) > 1)

    def _single_proposals(self, entries: Sequence[tuple[Key, Any]]) -> Iterator[tuple[Key, Any, Any]]:
        """Yield keys of the config, what they had, and values to try."""
        before = {name: t.shape for name, t in tensor_names(self.pruned.dense).values()}
        new: dict[int, set[int]] = {}
        for name, t in tensor_names(self.pruned.model).values():
            for a, b in zip(before.get(name, ()), t.shape, strict=False):
                if a != b:
                    new.setdefault(a, set()).add(b)
        config: Any = self.pruned.dense.config
        heads = getattr(config, "num_attention_heads", None)
        head_width = config.hidden_size // heads if type(heads) is int and heads else 0
        counts = {value for _, value in entries if isinstance(value, int)}
        for key, value in entries:
            if value is None:
                if key[1] == "head_dim" and head_width:
                    yield key, None, head_width
                if hasattr(_part(config, key[0]), key[1]):
                    yield from ((key, None, n) for n in sorted(set().union(*new.values())))
            elif isinstance(value, int):
                parts = {b // c for c in counts for b in new.get(value * c, ()) if b % c == 0}
                yield from ((key, value, n) for n in sorted(new.get(value, set()) | parts) if n != value)
            else:
                options = [sorted(new.get(v, {v}))[0] for v in value]
                yield key, value, type(value)(options)
                for i, one in enumerate(options):
                    yield key, value, type(value)([*value[:i], one, *value[i + 1 :]])


def _factors(rehearsal: Rehearsal) -> set[tuple[float, tuple[str, ...]]]:
    return {(round(drift.factor, 9), tuple(sorted(drift.scaled))) for drift in rehearsal.drifts}


def _parts(config: Any) -> dict[str, Any]:
    return {"": config} | {key: part for key, part in vars(config).items() if hasattr(part, "to_diff_dict")}


def _shorter(config: Any, kept: Sequence[bool]) -> Iterator[dict[Key, Any]]:
    """Yield changes of a number of blocks, with lists of an entry a block, to those that are left."""
    for path, part in _parts(config).items():
        lists = {
            (path, key): type(value)(one for one, stays in zip(value, kept, strict=True) if stays)
            for key, value in vars(part).items()
            if type(value) in (list, tuple) and len(value) == len(kept)
        }
        for key, value in vars(part).items():
            if type(value) is int and value == len(kept):
                yield {(path, key): sum(kept), **lists}


def _entries(config: Any) -> Iterator[tuple[Key, Any]]:
    """Yield the integers (and lists of them) of a config and of its parts.

    Classes read a head's width also where a config has no such key (Qwen2).
    """
    for path, part in _parts(config).items():
        if not hasattr(part, "head_dim"):
            yield (path, "head_dim"), None
        for key, value in vars(part).items():
            whole = type(value) is int and value > 1
            several = isinstance(value, list | tuple) and value and all(type(v) is int for v in value)
            if not key.startswith("_") and (whole or several or (value is None and key in _UNSET)):
                yield (path, key), value


def _part(config: Any, path: str) -> Any:
    return getattr(config, path) if path else config
