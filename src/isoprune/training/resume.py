"""What a training needs to go on as if it had never stopped, to and from a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from isoprune.samples import inputs_at
from isoprune.training import checkpoint
from isoprune.types import IsopruneError, Splits

logger = logging.getLogger("isoprune")

Row = dict[str, Any]


def fingerprint(
    model: nn.Module, splits: Splits, generator: Generator, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what makes a training this one and no other: settings, shapes, starting point, data."""
    state = {name: t for name, t in model.state_dict().items() if isinstance(t, Tensor)}
    train = splits.train
    # All labels and one input: another cut, order or normalisation shows, without reading it all.
    data = {
        "targets": train.targets,
        "first": inputs_at(train, torch.arange(1)),
        "held": splits.validation.targets,
    }
    return {
        **{f"shape of {name}": list(t.shape) for name, t in state.items()},
        **settings,
        "digest of the data": checkpoint.digest(data),
        "digest of the starting weights": checkpoint.digest(state),
        "digest of the generator": checkpoint.digest({"state": generator.get_state()}),
    }


def save(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: Generator,
    *,
    run: Mapping[str, Any],
    history: list[Row],
) -> None:
    """Write weights, buffers, momentum, generator state and history."""
    tensors = {f"model/{name}": t for name, t in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        momentum = optimizer.state[parameter].get("momentum_buffer") if parameter in optimizer.state else None
        if momentum is not None:
            tensors[f"momentum/{name}"] = momentum
    tensors["generator"] = generator.get_state()
    checkpoint.write(path, tensors, {"run": dict(run), "history": history})


def restore_(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: Generator,
    *,
    run: Mapping[str, Any],
) -> list[Row]:
    """Bring everything to the state in ``path`` and return its history; empty if there is none to go on from.

    A damaged file counts as none: training from the start ends on the same bits.

    Raises:
        IsopruneError: If the checkpoint is that of another network or another training.
    """
    try:
        found = checkpoint.read(path)
    except checkpoint.Damaged as error:
        logger.warning(
            "Checkpoint is damaged and not used; training starts again from the beginning: %s", error
        )
        return []
    if found is None:
        return []
    tensors, facts = found
    there = facts["run"]
    for key in dict.fromkeys([*run, *there]):
        if run.get(key) != there.get(key):
            network = "network" if key.startswith("shape of ") else "training"
            raise IsopruneError(
                f"{path} is the checkpoint of another {network}: {key} is {there.get(key)} there and "
                f"{run.get(key)} here. Delete it, or give another path."
            )
    model.load_state_dict({k.removeprefix("model/"): t for k, t in tensors.items() if k.startswith("model/")})
    for name, parameter in model.named_parameters():
        if (momentum := tensors.get(f"momentum/{name}")) is not None:
            optimizer.state[parameter]["momentum_buffer"] = momentum.to(parameter.device, copy=True)
    generator.set_state(tensors["generator"])
    return facts["history"]
