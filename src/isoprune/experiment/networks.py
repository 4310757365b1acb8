"""From the store's plain tensors back to a network of the class it had."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta, Struct
from torch import Tensor, nn

from isoprune.experiment.config import Choice, choice
from isoprune.experiment.digests import digest
from isoprune.experiment.seeds import build_model
from isoprune.experiment.signatures import takes_weights
from isoprune.experiment.step_types import Count, Whole
from isoprune.experiment.store import read_facts, read_tensors
from isoprune.experiment.trusted_names import trusted
from isoprune.experiment.validation import read
from isoprune.export.manifest import sizes_of
from isoprune.graph.dispatch_mode import DispatchMode
from isoprune.methods.codecs.clusters import MOST_BITS, cluster, clustered
from isoprune.pruning.grains import read_grain
from isoprune.pruning.mask import harden, masked, masks_of
from isoprune.pruning.shrink import replace_tensors
from isoprune.pruning.stored_sizes import Sizes, restore_sizes_, shapes_of
from isoprune.types import Plan
from isoprune.types.errors import IsopruneError
from isoprune.types.files import DamagedFile

# Before the names of what lies beside a network's tensors: elements that masks keep, and units of the plan.
_MASK, _PLAN = "mask/", "plan/"


def load_network(folder: str | Path, named: Collection[str] = ()) -> tuple[nn.Module, dict[str, Any]]:
    """Return a finished network of the store, in eval mode, and its facts.

    Args:
        folder: Anybody's: of what its files name only our tables and the trusted zoos are called.
        named: Functions that the user named besides, as ``"module:function"``.

    Raises:
        IsopruneError: If there is none in ``folder``, it is damaged, its tensors are those of another
            network, or a function makes it that is not among ``named``.
    """
    folder = Path(folder)
    facts = checked_facts(folder)
    if facts is None:
        raise IsopruneError(
            f"{folder} holds no finished network (no network.json). "
            "Give a folder like runs/networks/<digest>, or a run's record.json."
        )
    config = facts["config"]
    made = trusted("model", choice(config["model"], "model"), str(folder), named)
    tensors, shape = read_tensors(folder, facts), tuple(facts["in_shape"])
    make = partial(build_model, without_weights(made), shape, facts["classes"], seed=config["seed"])
    model, plan = rebuild(built(make, tensors, str(folder)), facts, tensors, where=str(folder))
    return model, {**facts, "plan": plan}


class _PlanFacts(Struct, frozen=True):
    grain: str
    request: dict[str, Any]
    removed: dict[str, list[Whole]] | None = None
    shapes: dict[str, list[Whole]] | None = None


class _Config(Struct, frozen=True):
    seed: Whole
    model: dict[str, Any]
    data: dict[str, Any]
    steps: list[dict[str, Any]]


class _Facts(Struct, frozen=True):
    # What is relied on of a network.json.
    role: str
    digest: str
    dense: str
    config: _Config
    in_shape: Annotated[list[Count], Meta(min_length=1, max_length=8)]
    classes: int
    seconds: float
    sizes: dict[str, dict[str, Sizes]]
    parameters: Whole
    nonzero: Whole
    bytes: Whole
    flops: Whole
    plan: _PlanFacts
    coded_bytes: Whole | None = None
    peak_memory: Whole | None = None
    history: list[dict[str, Any]] = []


def checked_facts(folder: Path) -> dict[str, Any] | None:
    """Return the facts of the finished network in ``folder``, or None if there is none.

    Raises:
        DamagedFile: If it is not what a run wrote: of other types, or in a folder of another config's name.
    """
    facts = read_facts(folder)
    if facts is None:
        return None
    try:
        read(_Facts, facts)
    except IsopruneError as error:
        raise DamagedFile(f"{folder / 'network.json'} is damaged: {error}") from None
    if digest(facts["config"]) != facts["digest"]:
        raise DamagedFile(f"{folder} is damaged: its name is not that of its config.")
    return facts


def rebuild(
    network: nn.Module, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], *, where: str
) -> tuple[nn.Module, Plan]:
    """Return a dense network with ``tensors`` in it, masked as it was, and the plan.

    Args:
        network: As the experiment draws it, which is changed: given the small tensors and the sizes that go
            with them, nothing has to be traced.
        facts: Its sizes and its plan, in a store. What makes the network is not taken from there.
    """
    masks, kept = _named(tensors, _MASK), _named(tensors, _PLAN)
    tensors = {name: t for name, t in tensors.items() if not name.startswith((_MASK, _PLAN))}
    network = network.eval()
    if facts["sizes"] and network.state_dict().keys() == tensors.keys():
        dense = shapes_of(network)
        replace_tensors(network, dict(tensors))
        try:
            restore_sizes_(network, facts["sizes"], dense)
        except IsopruneError as error:
            raise DamagedFile(f"{where} is damaged: {error}.") from None
    _check_tensors(network.state_dict(), tensors, where=where)
    network.load_state_dict(tensors)
    plan = facts["plan"]
    read = Plan.from_dict(plan) if "removed" in plan else Plan(kept, plan["grain"], plan["request"])
    if facts.get("coded_bytes") is not None:  # so few numbers a layer that each is found again as it was
        return cluster(network, conv_bits=MOST_BITS, linear_bits=MOST_BITS).model.eval(), read
    return (masked(network, masks).eval() if masks else network), read


def plain_tensors(model: nn.Module, plan: Plan) -> dict[str, Tensor]:
    """Return all that `rebuild` takes: plain weights, what masks keep, and a plan that is not JSON."""
    masks = {f"{_MASK}{name}": kept for name, kept in masks_of(model).items()}
    units = {} if _is_json(plan) else {f"{_PLAN}{name}": kept for name, kept in plan.kept.items()}
    plain = harden(model) if masks or clustered(model) else model
    return {**plain.state_dict(), **masks, **units}


def plan_facts(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON, as far as it is not kept as tensors."""
    return plan.as_dict() if _is_json(plan) else {"grain": plan.grain, "request": dict(plan.request)}


def _is_json(plan: Plan) -> bool:
    """Whether the units that went are few enough for JSON: channels are, single weights are not."""
    return read_grain(plan.grain).whole


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def without_weights(model: Choice) -> Choice:
    """Return the model as it is drawn: its tensors come from the store, not from where it once started."""
    if "weights" not in model.options or not takes_weights(model):
        return model
    return Choice(model.name, {**model.options, "weights": "none"})


def changed_sizes(dense: nn.Module, small: nn.Module) -> dict[str, dict[str, Any]]:
    """Return the integers (in_features, num_heads, ...) that differ in ``small``, by module."""
    changed = {}
    for (name, before), after in zip(dense.named_modules(), small.modules(), strict=True):
        sizes = sizes_of(after)
        if differ := {key: sizes[key] for key, value in sizes_of(before).items() if sizes.get(key) != value}:
            changed[name] = differ
    return changed


def _check_tensors(want: Mapping[str, Tensor], got: Mapping[str, Tensor], *, where: str) -> None:
    for name in sorted(want.keys() | got.keys()):
        shapes = [tuple(t[name].shape) if name in t else "none" for t in (want, got)]
        if shapes[0] != shapes[1]:
            raise DamagedFile(
                f"{where} is the checkpoint of another network: {name} has shape {shapes[1]}, but "
                f"{shapes[0]} in the network as configured. Delete the folder and start again."
            )


LEAST, MOST = 10**7, 1000  # elements: so many, or so many times those of the file

_MAKES = {
    torch.ops.aten.empty.memory_format,
    torch.ops.aten.zeros.default,
    torch.ops.aten.ones.default,
    torch.ops.aten.full.default,
    torch.ops.aten.rand.default,
    torch.ops.aten.randn.default,
}


class _Counting(DispatchMode):
    # Before the memory is asked for: a system that promises more than it has kills who uses it.
    def __init__(self, most: int, where: str) -> None:
        super().__init__()
        self.left, self.where = most, where

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _MAKES:
            self.left -= math.prod(args[0])
            if self.left < 0:
                raise IsopruneError(
                    f"{self.where} describes a network of far more weights than it holds. It is not built."
                )
        return func(*args, **(kwargs or {}))


def built(make: Callable[[], nn.Module], tensors: Mapping[str, Tensor], where: str) -> nn.Module:
    """Return ``make()``, which a file named; refuse a network far larger than the file's ``tensors``.

    Raises:
        IsopruneError: If it is; before the memory is taken.
    """
    most = max(LEAST, MOST * sum(tensor.numel() for tensor in tensors.values()))
    with _Counting(most, where):
        return make()
