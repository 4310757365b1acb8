"""plan.json: the structure of a saved network as plain data, written and checked here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import isoprune
from isoprune.export.folder import FORMAT, PLAN, DamagedNetwork, damaged
from isoprune.graph.cloning import tensor_names
from isoprune.pruning import Pruned
from isoprune.pruning.costs import Costs
from isoprune.pruning.grains import read_grain
from isoprune.pruning.stored_sizes import Sizes, is_size, sizes_of
from isoprune.types import IsopruneError, Plan, Splits
from isoprune.types.data import Preprocessing
from isoprune.types.files import DamagedFile
from isoprune.types.json_files import read_json

VERSION = 1
LARGEST_INPUT = 2**28  # numbers in one batch, which is drawn as the file says

DTYPES = {
    str(d).removeprefix("torch."): d
    for d in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
    )
}


@dataclass(frozen=True)
class StoredTensor:
    """One stored tensor. ``dense``: its shape before pruning, None where that was not known."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    dense: tuple[int, ...] | None

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)


@dataclass(frozen=True)
class Manifest:
    """The checked content of a plan.json."""

    made_of: str  # the class that was saved, for messages only
    sha256: str
    tensors: Mapping[str, StoredTensor]
    tied: Mapping[str, str]
    attributes: Mapping[str, Mapping[str, Sizes]]
    training: bool
    other_mode: tuple[str, ...]
    source: str | None  # words for the reader
    in_shape: tuple[int, ...] | None  # of the forward's one input, batch first; None where it takes others
    plan: Plan | None  # of single weights: without its units, which stand in plan.safetensors
    costs: Costs | None  # of the dense and of the saved network
    classes: tuple[str, ...]  # names, and how images become inputs: of the data that it was trained on
    preprocessing: Preprocessing | None
    bools: Mapping[str, tuple[int, ...]]  # name -> shape in plan.safetensors: masks and kept units
    bools_sha256: str | None


def ties_of(model: nn.Module) -> dict[str, str]:
    """Return, for every further name of a tensor that has several, the first one."""
    first = {key: name for key, (name, _) in tensor_names(model).items()}
    every = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    return {name: first[id(t)] for name, t in every if first[id(t)] != name}


def facts_of(
    model: nn.Module, result: Pruned | None, dense: nn.Module | None, source: str | None, data: Splits | None
) -> dict[str, Any]:
    """Return the content of plan.json, but for the checksums."""
    tensors = dict(tensor_names(model).values())
    before = {} if dense is None else _dense_shapes(tensors, dense)
    modules = dict(model.named_modules())
    usual = {} if dense is None else {name: sizes_of(m) for name, m in dense.named_modules()}
    changed = {
        name: {a: v for a, v in sizes_of(module).items() if usual.get(name, {}).get(a) != v}
        for name, module in modules.items()
    }
    return {
        "format": FORMAT,
        "version": VERSION,
        "isoprune": isoprune.__version__,
        "torch": str(torch.__version__),
        "class": f"{type(model).__module__}.{type(model).__qualname__}",
        "source": source,
        "in_shape": None if result is None else _in_shape(result.example_inputs),
        "classes": [] if data is None else list(data.names),
        "preprocessing": None if data is None or data.preprocessing is None else asdict(data.preprocessing),
        "training": model.training,
        "other_mode": [name for name, m in modules.items() if m.training != model.training],
        "plan": None if result is None else _plan(result.plan),
        "costs": None if result is None else result.costs.as_dict(),
        "attributes": {name: changes for name, changes in changed.items() if changes},
        "tied": ties_of(model),
        "tensors": {
            name: {
                "shape": list(t.shape),
                "dtype": str(t.dtype).removeprefix("torch."),
                "dense": before.get(name),
            }
            for name, t in tensors.items()
        },
    }


def _in_shape(example_inputs: Any) -> list[int] | None:
    one = isinstance(example_inputs, torch.Tensor) and example_inputs.is_floating_point()
    return list(example_inputs.shape) if one else None


def _plan(plan: Plan) -> dict[str, Any]:
    # Of single weights the bools are many: they stand in plan.safetensors.
    told = replace(plan, kept={}) if read_grain(plan.grain).of_tensors else plan
    return json.loads(json.dumps(told.as_dict(), default=repr))  # a request may hold what JSON has not


def _dense_shapes(tensors: Mapping[str, torch.Tensor], dense: nn.Module) -> dict[str, list[int]]:
    shapes = {name: list(t.shape) for name, t in tensor_names(dense).values()}
    for name in sorted(tensors.keys() ^ shapes.keys()):
        where = "dense" if name in shapes else "the network to save"
        raise IsopruneError(
            f"dense is another network: only {where} has {name}. Pass the one it was pruned from."
        )
    return shapes


def read(directory: Path) -> Manifest:
    """Return what the plan.json in ``directory`` says.

    Raises:
        DamagedNetwork: If it is missing, damaged, or no such file at all.
        IsopruneError: If it is of a newer isoprune.
    """
    path = directory / PLAN
    try:
        facts = read_json(path, remedy="")
    except FileNotFoundError:
        raise DamagedNetwork(
            f"{directory} holds no saved network: no {PLAN}", "Give a directory that isoprune.save wrote."
        ) from None
    except DamagedFile as error:
        raise DamagedNetwork(str(error).rstrip(". ")) from None
    if facts.get("format") != FORMAT:
        raise DamagedNetwork(
            f"{path} is not of isoprune's making", "Give a directory that isoprune.save wrote."
        )
    version = facts.get("version")
    if type(version) is not int or version > VERSION:
        raise IsopruneError(
            f"{path} has version {version!r:.20}, of isoprune {facts.get('isoprune')!r:.20}; this reads to "
            f"version {VERSION}. Update it: pip install --upgrade isoprune"
        )
    try:
        return _checked(facts)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise damaged(path, str(error)) from None


def _checked(facts: Mapping[str, Any]) -> Manifest:
    tensors = {
        _text(name): StoredTensor(
            _shape(t["shape"]), DTYPES[t["dtype"]], None if t["dense"] is None else _shape(t["dense"])
        )
        for name, t in facts["tensors"].items()
    }
    attributes: dict[str, dict[str, Sizes]] = {}
    for module, changes in facts["attributes"].items():
        for name, value in changes.items():
            # A name such as __class__ or _parameters is never a size.
            small = all(abs(v) < 2**63 for v in (value if isinstance(value, list) else [value]))
            number = is_size(value) or type(value) is float  # never "nan": not below any number
            if not (number and small and re.fullmatch(r"[^\W_]\w*", name)):
                raise ValueError(f"{name!r:.60} of {module!r:.60} is no size")
            attributes.setdefault(_text(module), {})[name] = value
    if not re.fullmatch(r"[0-9a-f]{64}", facts["sha256"]):
        raise ValueError("sha256 is no digest")
    return Manifest(
        made_of=_text(facts["class"])[:100],
        sha256=facts["sha256"],
        tensors=tensors,
        tied={_text(k): _text(v) for k, v in facts["tied"].items()},
        attributes=attributes,
        training=facts["training"] is True,
        other_mode=tuple(_text(name) for name in facts["other_mode"]),
        source=None if facts["source"] is None else _text(facts["source"])[:300],
        in_shape=None if facts.get("in_shape") is None else _input_shape(facts["in_shape"]),
        plan=None if facts["plan"] is None else _plan_of(facts["plan"]),
        costs=None if facts["costs"] is None else _costs_of(facts["costs"]),
        classes=tuple(_text(name) for name in facts.get("classes", ())),
        preprocessing=_preprocessing(facts.get("preprocessing")),
        bools={_text(name): _shape(shape) for name, shape in facts.get("bools", {}).items()},
        bools_sha256=facts.get("bools_sha256"),
    )


def _plan_of(value: Mapping[str, Any]) -> Plan:
    removed, shapes = ({_text(k): _shape(v) for k, v in value[key].items()} for key in ("removed", "shapes"))
    grain = _text(value["grain"])
    read_grain(grain)
    if not isinstance(value["request"], dict):
        raise TypeError("the plan's request is no object")
    return Plan.removing(removed, shapes, grain=grain, request=value["request"])


def _costs_of(value: Mapping[str, Any]) -> Costs:
    costs = Costs.from_dict(value)
    counts = [n for cost in (costs.dense, costs.pruned) for n in vars(cost).values()]
    counts += [n for _, *sizes in costs.units for n in sizes]
    if not all(type(n) is int and 0 <= n < 2**63 for n in counts):
        raise TypeError("its costs are no counts")
    return replace(costs, ratios={_text(name): float(part) for name, part in costs.ratios.items()})


def _text(value: Any) -> str:
    # Names come up in messages: a stranger's escape sequences must not reach the terminal.
    if not isinstance(value, str) or not value.isprintable():
        raise TypeError(f"{value!r:.60} is not a name")
    return value


def _preprocessing(value: Mapping[str, Any] | None) -> Preprocessing | None:
    if value is not None:
        mean, std = (tuple(map(float, value[key])) for key in ("mean", "std"))
        way = None if value["transform"] is None else _text(value["transform"])[:300]
        return Preprocessing(_shape([value["resize"]])[0], mean, std, _text(value["interpolation"]), way)
    return None


def _input_shape(value: Any) -> tuple[int, ...]:
    if not 0 < math.prod(_shape(value)) <= LARGEST_INPUT:
        raise ValueError(f"{value!r:.60} is not the shape of an input")
    return _shape(value)


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(n) is int and 0 <= n < 2**48 for n in value):
        raise TypeError(f"{value!r:.60} is not a shape")
    return tuple(value)
