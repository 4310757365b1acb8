"""Residual blocks that can go as a whole: items of a list of modules that add to what they are given.

Without one, the next item gets what it got. A first item that changes the width, or one that another needs
(T5's, whose table of positions all layers share), is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.graph import Graph
from isoprune.graph.cloning import clone_sharing, runnable_copy, tensor_names
from isoprune.graph.dispatch_mode import DispatchMode
from isoprune.graph.draws import muted_by
from isoprune.graph.entries import EntryPoint
from isoprune.graph.inputs import copied_inputs
from isoprune.graph.isolation import isolated
from isoprune.graph.outputs import tensors_of
from isoprune.pruning.costs import Cost, Costs, everything, flops_of
from isoprune.pruning.discrepancy import discrepancy
from isoprune.pruning.pair import Run, Wanted
from isoprune.pruning.pruned import Pruned
from isoprune.pruning.shrink import replace_tensors
from isoprune.pruning.trials import Trial
from isoprune.pruning.verify import Proof, proven
from isoprune.types import IsopruneError, Member, Plan, Units
from isoprune.types.units import DEPTH

_PLACE = ("layer_idx", "layer_id", "layer_number", "block_idx", "block_id")  # where in the list a part stands


def lists_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return the lists of modules, by name."""
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.ModuleList | nn.Sequential) and n}


@isolated()
def residual_blocks(model: nn.Module, example_inputs: Any) -> dict[str, list[int]]:
    """Return, by the name of each list of modules, which of its items are residual blocks that can go.

    An item is one if it runs once, gives a tensor of the kind that it takes, adds that to something, and the
    forward without it runs and gives what it does where the item passes its input on. Of items within items
    the inner ones count. Cost: a forward, and two for each list; more where some of its items cannot go.
    """
    entry = EntryPoint(example_inputs)
    watched = _Watched(runnable_copy(model))
    with torch.no_grad(), watched:
        entry.run(watched.model, copied_inputs(entry.inputs))
    found: dict[str, list[int]] = {}
    taken: list[str] = []
    lists = lists_of(model)
    for name in sorted(lists, key=lambda name: -name.count(".")):
        keys = list(lists[name]._modules)
        inside = {at for at, key in enumerate(keys) if any(t.startswith(f"{name}.{key}.") for t in taken)}
        places = sorted(at for where, at in watched.residual if where == name and at not in inside)
        if goes := _going(model, entry, name, places):
            found[name] = goes
            taken += [f"{name}.{keys[at]}" for at in goes]
    return {name: found[name] for name in lists if name in found}


def units_of_blocks(model: nn.Module, blocks: Mapping[str, list[int]]) -> tuple[Units, ...]:
    """Return the blocks of each list as units: all parameters of one are of one unit."""
    names = {id(p): name for name, p in model.named_parameters()}
    units = []
    for name, places in blocks.items():
        items = list(model.get_submodule(name)._modules.values())
        members = [
            Member(names[id(p)], (), "out" if p.dim() > 1 else "other", torch.full((1,) * p.dim(), i))
            for i, place in enumerate(places)
            for p in items[place].parameters()  # pyright: ignore[reportOptionalMemberAccess]
        ]
        units.append(Units(name, DEPTH, (len(places),), tuple(members)))
    return tuple(units)


def plan_of_items(model: nn.Module, blocks: Mapping[str, list[int]], plan: Plan) -> Plan:
    """Return a plan of blocks as one of the items of their lists, whatever these are."""
    kept = {}
    for name, mask in plan.kept.items():
        kept[name] = torch.ones(len(model.get_submodule(name)._modules), dtype=torch.bool)
        kept[name][blocks[name]] = mask
    return replace(plan, kept=kept, grain=DEPTH)


def without_blocks(model: nn.Module, plan: Plan) -> nn.Module:
    """Return a network of the same class without the items that ``plan`` removes, sharing its tensors.

    Items that have numbers as names are numbered anew, and so are attributes that say where in the list a
    module stands (`layer_idx`).

    Raises:
        IsopruneError: If the network has no such list.
    """
    new = clone_sharing(model)
    for name, kept in plan.kept.items():
        holder = lists_of(new).get(name)
        if holder is None or len(holder._modules) != len(kept):
            raise IsopruneError(
                f"The plan keeps {int(kept.sum())} of {len(kept)} items of '{name}': there is no such list."
            )
        items = list(holder._modules.items())
        numbered = all(key == str(i) for i, (key, _) in enumerate(items))
        left = [(i, *items[i]) for i in kept.nonzero().flatten().tolist()]
        holder._modules = {str(now) if numbered else key: m for now, (_, key, m) in enumerate(left)}
        for now, (before, _, module) in enumerate(left):
            for part in () if module is None else module.modules():
                for key in _PLACE:
                    if vars(part).get(key) == before:
                        setattr(part, key, now)
    return new


def names_before(model: nn.Module, plan: Plan) -> dict[str, str]:
    """Return what the tensors were called that a plan leaves, by what they are called then."""
    before, after = tensor_names(model), tensor_names(without_blocks(model, plan))
    return {name: before[key][0] for key, (name, _) in after.items()}


def deepened(dense: nn.Module, plan: Plan, small: nn.Module) -> nn.Module:
    """Return a copy of ``dense`` with the weights of ``small``, which ``plan`` left of it, in place."""
    little = dict(tensor_names(small).values())
    new = {before: little[now].detach().clone() for now, before in names_before(dense, plan).items()}
    out = clone_sharing(dense)
    replace_tensors(out, new)
    return out


def prove_blocks(model: nn.Module, small: nn.Module, graph: Graph, plan: Plan, inputs: Any) -> Proof:
    """Return how far ``small`` is from ``model`` with what the blocks add to their input set to zero."""

    def reference(run: Run, _: Trial) -> Wanted:
        return Wanted(run(nullcontext(), lambda dense: pass_on_(dense, plan)), set())

    return proven(model, small, graph, inputs, None, reference, {}, names=names_before(model, plan))


def block_costs(model: nn.Module, small: nn.Module, graph: Graph, plan: Plan) -> Costs:
    """Return what ``model`` costs, and ``small`` without the blocks."""
    before, after = (sum(p.numel() for p in m.parameters()) for m in (model, small))
    gone = tuple(
        f"{name}.{key}"
        for name, kept in plan.kept.items()
        for key, stays in zip(model.get_submodule(name)._modules, kept.tolist(), strict=True)
        if not stays
    )
    stay = [n for n in graph.nodes if not any(f"{n.module}.".startswith(f"{g}.") for g in gone)]
    work, left = (flops_of(nodes, graph, everything(graph)) for nodes in (graph.nodes, stay))
    units = tuple((n, k.numel(), int((~k).sum())) for n, k in plan.kept.items())
    return Costs.between(Cost(before, before, work), Cost(after, after, left), units, 0.0)


def drop_blocks(network: nn.Module, example_inputs: Any, graph: Graph, plan: Plan) -> Pruned:
    """Return the network without the blocks that a plan removes, proven."""
    small = without_blocks(network, plan)
    replace_tensors(small, {name: t.detach().clone() for name, t in tensor_names(small).values()})
    proof = prove_blocks(network, small, graph, plan, example_inputs)
    history = ({"step": "prune", "grain": DEPTH, "request": dict(plan.request)},)
    costs = block_costs(network, small, graph, plan)
    return Pruned(small, network, plan, graph, proof, costs, history, example_inputs)


def pass_on_(model: nn.Module, plan: Plan) -> None:
    """Let the blocks that a plan removes give their input as it came; what else they give stays."""
    for name, kept in plan.kept.items():
        for block, stays in zip(
            list(model.get_submodule(name)._modules.values()), kept.tolist(), strict=True
        ):
            if block is not None and not stays:
                given: list[Tensor] = []
                block.register_forward_pre_hook(_keeper(given), with_kwargs=True)
                block.register_forward_hook(_giver(given))


def _keeper(given: list[Tensor]) -> Callable[..., None]:
    def keep(_module: nn.Module, args: Any, kwargs: Any) -> None:
        given[:] = [_first((args, kwargs)).clone()]  # a block may write into its input
        muted_by(1)

    return keep


def _giver(given: list[Tensor]) -> Callable[..., Any]:
    def give(_module: nn.Module, _args: Any, output: Any) -> Any:
        muted_by(-1)
        return given[0] if isinstance(output, Tensor) else _with_first(output, given[0])

    return give


def _with_first(output: Any, tensor: Tensor) -> Any:
    """Return a tuple or a list with another tensor in the place of its first item."""
    return type(output)((tensor, *output[1:]))


def _first(value: Any) -> Tensor:
    return next(t for t in tensors_of(value) if t.is_floating_point())


def _going(model: nn.Module, entry: EntryPoint, name: str, places: list[int]) -> list[int]:
    """Return which of these items of a list can go, by halving."""
    if not places or _go(model, entry, name, places):
        return places
    half = len(places) // 2
    parts = (places[:half], places[half:]) if half else ()
    return [one for part in parts for one in _going(model, entry, name, part)]


def _go(model: nn.Module, entry: EntryPoint, name: str, places: list[int]) -> bool:
    """Tell whether a forward without these items gives what it does where they pass their input on."""
    kept = torch.ones(len(model.get_submodule(name)._modules), dtype=torch.bool)
    kept[places] = False
    plan = Plan({name: kept}, DEPTH)
    dense, small = runnable_copy(model), without_blocks(runnable_copy(model), plan)
    pass_on_(dense, plan)
    try:
        with torch.no_grad():
            want, got = (entry.run(m, copied_inputs(entry.inputs)) for m in (dense, small))
        return discrepancy(want, got).relative < 1e-3
    except Exception:  # whatever a forward raises that needs the item
        return False


@dataclass
class _Watched(DispatchMode):
    """Watches a forward for the items of lists that add what they were given to something."""

    model: nn.Module
    _running: list[tuple[tuple[str, int], Tensor]] = field(default_factory=list)
    _added: set[tuple[str, int]] = field(default_factory=set)
    _calls: dict[tuple[str, int], int] = field(default_factory=dict)
    _alike: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        for name, holder in lists_of(self.model).items():
            for at, item in enumerate(holder._modules.values()):
                if item is not None:
                    item.register_forward_pre_hook(self._entered((name, at)), with_kwargs=True)
                    item.register_forward_hook(self._left((name, at)), always_call=True)

    @property
    def residual(self) -> Iterator[tuple[str, int]]:
        return (one for one in self._added & self._alike if self._calls[one] == 1)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in ("aten::add", "aten::add_"):
            for one, given in self._running:
                if any(isinstance(a, Tensor) and _same_memory(a, given) for a in args):
                    self._added.add(one)
        return func(*args, **(kwargs or {}))

    def _entered(self, one: tuple[str, int]) -> Callable[..., None]:
        def enter(_module: nn.Module, args: Any, kwargs: Any) -> None:
            given = next((t for t in tensors_of((args, kwargs)) if t.is_floating_point()), torch.empty(0))
            self._calls[one] = self._calls.get(one, 0) + 1
            self._running.append((one, given))

        return enter

    def _left(self, one: tuple[str, int]) -> Callable[..., None]:
        def leave(_module: nn.Module, _args: Any, output: Any) -> None:
            _, given = self._running.pop()
            first = output[0] if isinstance(output, tuple | list) and output else output
            if isinstance(first, Tensor) and first.shape == given.shape and first.dtype == given.dtype:
                self._alike.add(one)

        return leave


def _same_memory(a: Tensor, b: Tensor) -> bool:
    return a.data_ptr() == b.data_ptr() and prod(a.shape) == prod(b.shape)
