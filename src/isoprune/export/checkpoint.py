"""A pruned network on the disk: model.safetensors and plan.json, loaded into the user's own class."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from isoprune.export import manifest, mask_file
from isoprune.export.content_checks import check_finite, plan_problem
from isoprune.export.folder import BOOLS, PLAN, WEIGHTS, replacing, settled
from isoprune.export.manifest import Manifest, StoredTensor, damaged
from isoprune.graph.cloning import clone_sharing, tensor_names
from isoprune.pruning import Pruned
from isoprune.pruning.mask import harden, masked, masks_of
from isoprune.pruning.residual_blocks import without_blocks
from isoprune.pruning.shrink import replace_tensors
from isoprune.pruning.stored_sizes import restore_sizes_, shapes_of
from isoprune.types import IsopruneError, Network, Plan, Splits, module_of
from isoprune.types.files import explained
from isoprune.types.units import DEPTH

HEADER = 2**16, 2**10  # most bytes of a safetensors header: so many, and so many a tensor


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
    `groups`, ...); of a masked network, plan.safetensors the masks. The directory is whole
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
    """Write the files of `save` into a folder that nobody reads yet, as `replacing` gives it."""
    pruned = network if isinstance(network, Pruned) else None
    model = module_of(network)
    if pruned is not None and dense is None:
        dense = pruned.dense
    if pruned is not None and dense is not None and pruned.plan.grain == DEPTH:
        dense = without_blocks(dense, pruned.plan)
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
    tensors = _plain_tensors(model)
    check_finite(model, tensors, "The network")
    save_file(tensors, part / WEIGHTS)
    facts["sha256"] = _sha256(part / WEIGHTS)
    if masks:
        kept = {} if pruned is None or facts["plan"]["removed"] else pruned.plan.kept
        facts["bools"] = mask_file.write(part / BOOLS, masks, kept)
        facts["bools_sha256"] = _sha256(part / BOOLS)
    (part / PLAN).write_text(manifest.to_text(facts), encoding="utf-8")
    (part / WEIGHTS).chmod((part / PLAN).stat().st_mode)  # safetensors makes it the owner's alone


def _plain_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return every tensor once; copied where it shares its memory, which safetensors refuses."""
    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensor_names(model).values():
        t = tensor.detach().cpu().contiguous()
        storage = t.untyped_storage()
        alone = storage.nbytes() == t.nbytes and storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        plain[name] = t if alone else t.clone()
    return plain


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    place = settled(Path(directory))
    with explained(place):
        facts = manifest.read(place)
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
        tensors = _read_weights(facts, place / WEIGHTS)
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
            model = masked(model, _masks(facts, place / BOOLS))
    for name, module in model.named_modules():
        module.training = facts.training != (name in facts.other_mode)
    return model


def plan_at(directory: str | Path) -> Plan | None:
    """Return the plan of a saved network; None if it was saved without one.

    Raises:
        IsopruneError: If it is missing or damaged.
    """
    place = settled(Path(directory))
    with explained(place):
        facts = manifest.read(place)
        if facts.plan is None or not facts.bools:
            return facts.plan
        bools = _bools(facts, place / BOOLS)
    kept = {k.removeprefix(mask_file.KEPT): t for k, t in bools.items() if k.startswith(mask_file.KEPT)}
    return replace(facts.plan, kept={**facts.plan.kept, **kept})


def _bools(facts: Manifest, path: Path) -> dict[str, Tensor]:
    bools = mask_file.read(path, facts.bools)
    if _sha256(path) != facts.bools_sha256:
        raise damaged(path, "its SHA-256 is not the one in plan.json")
    return bools


def _masks(facts: Manifest, path: Path) -> dict[str, Tensor]:
    bools = _bools(facts, path)
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


def _another(facts: Manifest, model: nn.Module, place: Path, problem: str) -> IsopruneError:
    return IsopruneError(
        f"{place} is a {facts.made_of.rpartition('.')[2]} of another make than the {type(model).__name__} of "
        f"build(): {problem}. Pass the function that made the dense network."
    )


def _kind(dtype: torch.dtype) -> object:
    return ("float", dtype.is_complex) if dtype.is_floating_point or dtype.is_complex else dtype


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _read_weights(facts: Manifest, path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise IsopruneError(f"{path} is missing. Copy the directory anew, or save the network again.")
    content = sum(entry.nbytes for entry in facts.tensors.values())
    size = path.stat().st_size
    # Before a byte is read: no larger than the tensors, which are no larger than those of build().
    if not content <= size <= content + HEADER[0] + HEADER[1] * len(facts.tensors):
        raise damaged(path, f"it has {size:,} bytes, its tensors {content:,}")
    if _sha256(path) != facts.sha256:
        raise damaged(path, "its SHA-256 is not the one in plan.json")
    try:
        with safe_open(path, "pt") as file:
            # Copies: what safetensors hands out may be the file itself, mapped into memory.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  not a dict
    except SafetensorError as error:
        raise damaged(path, str(error)) from error
    found = {name: StoredTensor(tuple(t.shape), t.dtype, None) for name, t in tensors.items()}
    for name in sorted(found.keys() | facts.tensors.keys()):
        want = facts.tensors.get(name)
        if want is None or found.get(name) != StoredTensor(want.shape, want.dtype, None):
            raise damaged(path, f"{name} is not as plan.json has it")
    return tensors
