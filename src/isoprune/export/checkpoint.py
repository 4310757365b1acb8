"""A pruned network on the disk: model.safetensors and plan.json, loaded into the user's own class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.export import manifest, mask_file, weights_file
from isoprune.export.content_checks import check_finite, plan_problem
from isoprune.export.folder import (
    BOOLS,
    PLAN,
    WEIGHTS,
    DamagedNetwork,
    damaged,
    replacing,
    settled,
    sha256_of,
)
from isoprune.export.manifest import Manifest
from isoprune.graph.cloning import clone_sharing, tensor_names
from isoprune.pruning import Pruned
from isoprune.pruning.grains import read_grain
from isoprune.pruning.mask import harden, masked, masks_of
from isoprune.pruning.residual_blocks import without_blocks
from isoprune.pruning.shrink import replace_tensors
from isoprune.pruning.stored_sizes import restore_sizes_, shapes_of
from isoprune.types import IsopruneError, Network, Plan, Splits, module_of
from isoprune.types.files import explained
from isoprune.types.json_files import sealed
from isoprune.types.units import DEPTH


def save(
    network: Network,
    directory: str | Path,
    *,
    dense: nn.Module | None = None,
    source: str | None = None,
    data: Splits | None = None,
) -> Path:
    """Write a network so that `load` gives it back with equal bits, and return the directory.

    model.safetensors holds every parameter and buffer, those that a state dict leaves out included;
    plan.json the shapes, the plan, the costs and the integers that hold a size (`num_heads`,
    `groups`, ...); plan.safetensors the masks, and a plan of single weights. The directory is whole
    or not there at any moment; one that isoprune wrote is replaced.

    Args:
        network: What a verb gave back, as it is now (retrained, if it was retrained), or any module.
        directory: New, empty, or saved by isoprune before.
        dense: The network before pruning; a `Pruned` knows it. Only the attributes that differ from it are
            stored, and `load` knows its exact shapes.
        source: Where the dense class came from, as words for the reader; never used by `load`.
        data: What it was trained on: the names of the classes and how images become inputs are kept too.

    Raises:
        IsopruneError: If the directory holds other files, is read-only or full; if ``dense`` is another
            network.
    """
    with replacing(Path(directory)) as part:
        write(network, part, dense=dense, source=source, data=data)
    return Path(directory)


def write(
    network: Network,
    part: Path,
    *,
    dense: nn.Module | None = None,
    source: str | None = None,
    data: Splits | None = None,
) -> None:
    """Write the files of `save` into a folder that nobody reads yet, as `replacing` and `adding` give it."""
    model, pruned = module_of(network), network if isinstance(network, Pruned) else None
    if pruned is not None:
        dense = pruned.dense if dense is None else dense
        dense = without_blocks(dense, pruned.plan) if pruned.plan.grain == DEPTH else dense
    if masks := masks_of(model):
        model = harden(model)
    if any(key.endswith(".index") and ".parametrizations." in f".{key}" for key, _ in model.named_buffers()):
        raise IsopruneError(
            "The weights are shared. Write them by isoprune.compress, or make them plain first: "
            "isoprune.save(isoprune.harden(network), ...)."
        )
    facts = manifest.facts_of(model, pruned, dense, source, data)
    for name, entry in facts["tensors"].items():
        if entry["dtype"] not in manifest.DTYPES:
            raise IsopruneError(
                f"{name} is of type {entry['dtype']}, which cannot be stored. Convert it first."
            )
    tensors = weights_file.plain_tensors(model)
    check_finite(model, tensors, "The network")
    facts["sha256"] = weights_file.write(part / WEIGHTS, tensors)
    kept = pruned.plan.kept if pruned is not None and read_grain(pruned.plan.grain).of_tensors else {}
    if masks or kept:
        facts["bools"] = mask_file.write(part / BOOLS, masks, kept)
        facts["bools_sha256"] = sha256_of(part / BOOLS)
    (part / PLAN).write_bytes(sealed(facts))
    (part / WEIGHTS).chmod((part / PLAN).stat().st_mode)  # safetensors makes it the owner's alone


def load(directory: str | Path, build: Callable[[], Any]) -> nn.Module:
    """Return the saved network: ``build()`` makes the dense class, the file gives sizes and weights.

    Parameters keep the `requires_grad` and the device that ``build`` gave them (from the meta device they
    come to the CPU, so ``build`` need not draw weights); train and eval mode are as they were saved. No code
    is loaded: nothing but tensors, and integers that the class already has.

    Args:
        directory: What `save` wrote.
        build: Makes the dense network, as before pruning; called without arguments.

    Raises:
        IsopruneError: If files are missing or damaged, of a newer isoprune, or of another network.
    """
    return read(directory, build)[0]


def read(directory: str | Path, build: Callable[[], Any]) -> tuple[nn.Module, Manifest]:
    """Return what `load` does, and what is known of it: its plan, complete, its costs, its source.

    Raises:
        DamagedNetwork: If files are missing or damaged, or of another network.
        IsopruneError: If they are of a newer isoprune, or cannot be read.
    """
    place = settled(Path(directory))
    with explained(place):
        facts = manifest.read(place)
        weights_file.check_size(place / WEIGHTS, facts)
    built = build if isinstance(build, nn.Module) else build()
    if not isinstance(built, nn.Module) or built is build:
        given, wanted = ("build is", "a function") if built is build else ("build() returned", "a module")
        raise IsopruneError(
            f"{given} a {type(built).__name__}, not {wanted}. Pass a function that makes the dense network "
            f"that {place} was pruned from ({facts.made_of})."
        )
    # A clone, since build may hand out a network that the user goes on with; in eval mode, since in train
    # mode a spectral norm goes on with its power iteration at each look at its weight.
    model = clone_sharing(built)
    for module in model.modules():  # a class of the user may mean something else by .eval
        module.training = False
    if facts.plan is not None and facts.plan.grain == DEPTH:
        try:
            model = without_blocks(model, facts.plan)
        except IsopruneError as error:
            raise _another(facts, model, place, str(error)) from None
    _check_same(facts, model, place)
    if (problem := plan_problem(facts, model)) is not None:
        raise _another(facts, model, place, problem)
    dense = shapes_of(model)
    with explained(place):
        tensors = weights_file.read(place / WEIGHTS, facts)
    check_finite(model, tensors, str(place / WEIGHTS))
    for name, old in tensor_names(model).values():
        if not old.is_meta:
            tensors[name] = tensors[name].to(old.device)
    replace_tensors(model, tensors)
    try:
        restore_sizes_(model, facts.attributes, dense)
    except IsopruneError as error:
        raise _another(facts, model, place, str(error)) from None
    if facts.bools:
        with explained(place):
            bools = _bools(facts, place / BOOLS)
        model = masked(model, _masks(facts, bools, place / BOOLS))
        if facts.plan is not None:
            facts = replace(facts, plan=_with_units(facts.plan, bools))
    for name, module in model.named_modules():
        module.training = facts.training != (name in facts.other_mode)
    return model, facts


def _with_units(plan: Plan, bools: dict[str, Tensor]) -> Plan:
    kept = {k.removeprefix(mask_file.KEPT): t for k, t in bools.items() if k.startswith(mask_file.KEPT)}
    return replace(plan, kept={**plan.kept, **kept})


def _bools(facts: Manifest, path: Path) -> dict[str, Tensor]:
    bools = mask_file.read(path, facts.bools)
    if sha256_of(path) != facts.bools_sha256:
        raise damaged(path, "its SHA-256 is not the one in plan.json")
    return bools


def _masks(facts: Manifest, bools: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    masks = {k.removeprefix(mask_file.MASKS): t for k, t in bools.items() if k.startswith(mask_file.MASKS)}
    for name, kept in masks.items():
        if name not in facts.tensors or facts.tensors[name].shape != tuple(kept.shape):
            raise damaged(path, f"its mask of {name} is not of that tensor's shape")
    return masks


def _check_same(facts: Manifest, model: nn.Module, place: Path) -> None:
    """Raise unless every saved tensor is what can be left of the one of that name in ``model``."""
    built = dict(tensor_names(model).values())
    for name in [*built, *facts.tensors]:
        want, old = facts.tensors.get(name), built.get(name)
        if want is None or old is None:
            where = "build()" if want is None else "the file"
            raise _another(facts, model, place, f"only {where} has {name}")
        if want.dense is not None and want.dense != tuple(old.shape):
            problem = (
                f"{name} is {_by(want.dense)} before pruning in the file and {_by(old.shape)} in build()"
            )
            raise _another(facts, model, place, problem)
        if len(want.shape) != old.dim() or any(a > b for a, b in zip(want.shape, old.shape, strict=True)):
            problem = (
                f"{name} is {_by(want.shape)} in the file, which is no part of {_by(old.shape)} in build()"
            )
            raise _another(facts, model, place, problem)
        if _kind(want.dtype) != _kind(old.dtype):
            raise _another(
                facts, model, place, f"{name} is {want.dtype} in the file and {old.dtype} in build()"
            )
    kinds: dict[torch.dtype, str] = {}
    for name, old in built.items():
        first = kinds.setdefault(old.dtype, name)
        if facts.tensors[name].dtype != facts.tensors[first].dtype:
            here, there = facts.tensors[first].dtype, facts.tensors[name].dtype
            problem = f"{first} is {here} and {name} {there} in the file, and both are {old.dtype} in build()"
            raise _another(facts, model, place, problem)
    ties = manifest.ties_of(model)
    for name in sorted(ties.keys() | facts.tied.keys()):
        if ties.get(name) != facts.tied.get(name):
            who, other = ("build()", "the file") if name in ties else ("the file", "build()")
            tied = ties.get(name) or facts.tied[name]
            raise _another(facts, model, place, f"{name} is tied to {tied} in {who} and not in {other}")


def _another(facts: Manifest, model: nn.Module, place: Path, problem: str) -> DamagedNetwork:
    return DamagedNetwork(
        f"{place} is a {facts.made_of.rpartition('.')[2]} of another make than the {type(model).__name__} of "
        f"build(): {problem}",
        "Pass the function that made the dense network.",
    )


def _kind(dtype: torch.dtype) -> object:
    return ("float", dtype.is_complex) if dtype.is_floating_point or dtype.is_complex else dtype


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"
