"""What tells one training from another: all that its results depend on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from isoprune.training import checkpoint
from isoprune.training.source import Batching, source_of
from isoprune.training.steps import Trainer
from isoprune.types import Data, Splits
from isoprune.types.value_digest import value_digest


def choices(trainer: Trainer, train: Batching, rates: Sequence[float], steps: int | None) -> dict[str, Any]:
    """Return how a network is trained, as a file keeps it, with what is most often changed first.

    Args:
        rates: Of every step.
        steps: What bounds them, where something does.
    """
    every = train.steps
    made: dict[str, Any] = {"epochs": -(-len(rates) // every), "batch": train.batch, "steps": steps}
    made |= {"shuffled": train.shuffled, "drop_last": train.drop_last, **trainer.loop.changed()}
    made |= {f"lr of epoch {number}": lr for number, lr in enumerate(rates[::every], 1)}
    made["digest of the learning rates"] = value_digest(torch.tensor(rates, dtype=torch.float64))
    made |= {"task": trainer.task.name, **_of_optimizer(trainer.optimizer)}
    made |= {f"digest of the task's {name}": d for name, d in trainer.task.digests().items()}
    if (distill := trainer.distill) is not None:
        made |= {"distill.weight": distill.weight, "distill.temperature": distill.temperature}
        made["digest of the network to learn from"] = checkpoint.digest(distill.teacher.state_dict())
    if trainer.penalty is not None:
        made["steps of the penalty"] = trainer.penalty.steps
        made["digest of the penalty"] = value_digest(trainer.penalty)
    return made


def _of_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """Return the class of an optimizer and the options of its groups of parameters, as a file keeps them."""
    made: dict[str, Any] = {"optimizer": f"{type(optimizer).__module__}.{type(optimizer).__qualname__}"}
    for number, group in enumerate(optimizer.param_groups):
        where = f" of parameter group {number}" if number else ""
        made[f"number of parameters{where}"] = len(group["params"])
        for name, value in group.items():
            if isinstance(value, str | int | float | None):
                made[name + where] = value
            elif name != "params":
                made[f"digest of {name}{where}"] = value_digest(value)
    return made


def fingerprint(
    model: nn.Module, data: Data | Splits, generator: Generator, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what identifies a training: settings, shapes, modules, starting point, data."""
    state = {name: t for name, t in model.state_dict().items() if isinstance(t, Tensor)}
    return {
        **{f"shape of {name}": list(t.shape) for name, t in state.items()},
        "digest of the modules": value_digest(re.sub(r" at 0x[0-9a-f]+", "", repr(model))),
        **settings,
        "digest of the data": data_digest({"train": data.train, "validation": data.validation}),
        "digest of the starting weights": checkpoint.digest(state),
        "digest of the generator": checkpoint.digest({"state": generator.get_state()}),
    }


def data_digest(parts: Mapping[str, Any]) -> str:
    """Return a digest of all labels and one sample of each part that is there.

    So another cut, order or normalisation shows, without reading it all.
    """
    tensors: dict[str, Tensor] = {}
    for part, given in parts.items():
        if given is None:
            continue
        source = source_of(given)
        tensors[part] = torch.tensor(len(source)) if source.targets is None else source.targets
        if source.resumable:
            leaves = (leaf for leaf in tree_leaves(source.first()) if isinstance(leaf, Tensor))
            tensors |= {f"first of {part} {number}": leaf for number, leaf in enumerate(leaves)}
    return checkpoint.digest(tensors)
