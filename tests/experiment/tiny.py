"""An experiment of a second, methods of an outsider that misbehave, and what two records may differ in."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from msgspec import to_builtins
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import one_hot

from isoprune.experiment.config import Experiment, experiment
from isoprune.experiment.recipe_steps import placed
from isoprune.experiment.resolve import resolve
from isoprune.experiment.store import Store
from isoprune.types import IsopruneError, Task
from isoprune.types.record import NetworkRecord, Record

HERE = __name__

CONFIG: dict[str, Any] = {
    "data": {"name": "digits", "limit": 150, "size": 8},
    "model": {"name": "mlp_7", "width": 8, "depth": 3, "activation": "relu"},
    "dense": {"epochs": 2, "lr": 0.05, "batch": 50, "jsv_samples": 4},
    "prune": {"ratio": 0.5},
    "repair": "orthp",
    "retrain": {
        "epochs": 3,
        "lr": 0.05,
        "batch": 50,
        "jsv_samples": 4,
        "schedule": {"name": "step_decay", "milestones": [2]},
    },
    "measure": {"samples": 4, "bins": 8},
}


def tiny(**changes: Any) -> Experiment:
    return experiment(CONFIG | changes)


def role_digest(config: dict[str, Any], role: str) -> str:
    """Return the digest of the last network of a role."""
    return {step.role: step.digest for step in placed(resolve(experiment(config)))}[role]


def roles(record: Record) -> dict[str, NetworkRecord]:
    """Return the networks of a run by their roles, the last of each."""
    return {network.role: network for network in record.networks}


def numbers(record: Record) -> Any:
    """Return what was measured of a run's networks, wherever they lie."""
    return [bits(to_builtins(network)) | {"digest": ""} for network in record.networks]


def bits(value: Any) -> Any:
    """Return a record without what may differ between two runs: the time and memory they took."""
    if isinstance(value, Record):
        return bits(to_builtins(value))
    if isinstance(value, dict):
        return {key: bits(v) for key, v in value.items() if key not in ("seconds", "peak_memory", "checksum")}
    return [bits(v) for v in value] if isinstance(value, list) else value


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute here as the workers do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _squares(outputs: torch.Tensor, batch: Any) -> torch.Tensor:
    return ((outputs - one_hot(batch[1], outputs.shape[1])) ** 2).mean()


SQUARES = Task(loss=_squares, metrics={"distance": _squares}, name="squares")


def explode():
    """Return a schedule that makes any training diverge."""
    return _huge


def _huge(progress: float) -> float:
    return 1.0 if progress < 0.5 else 1e30


def killed(pruned: Any, signals: Any, *, generator: Any) -> nn.Module:
    """A repair that the system kills, as it does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    return pruned.model


def buggy(pruned: Any, signals: Any, *, generator: Any) -> nn.Module:
    """A repair with a bug, which also prints."""
    print("hello from a repair")  # noqa: T201
    raise ZeroDivisionError("a bug")


def noisy(pruned: Any, signals: Any, *, generator: torch.Generator, draws: int = 1) -> nn.Module:
    """A repair that draws random numbers and looks at data, and changes nothing."""
    torch.rand(draws, generator=generator)
    torch.rand(draws)
    list(signals.batches)
    return pruned.model


def measured(
    pruned: Any, signals: Any, *, generator: torch.Generator, scale: float = 1.0
) -> dict[str, float]:
    """A measure: parameters times ``scale``, what it looked at, and a number that is not finite."""
    SEEN.extend(inputs.flatten(1) for inputs, _ in signals.batches)
    return {"scaled": scale * sum(p.numel() for p in pruned.model.parameters()), "none": math.inf}


def refusing(pruned: Any, signals: Any, *, generator: torch.Generator) -> dict[str, float]:
    """A measure that says nothing of any network."""
    raise IsopruneError("It is of no network. Leave it out.")


SEEN: list[torch.Tensor] = []  # what `measured` looked at


class Plain(nn.Module):
    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(inputs, 6), nn.Linear(6, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x.flatten(1)))


def plain(in_shape: tuple[int, ...], classes: int) -> nn.Module:
    """A network of an outsider who knows only torch's global generator."""
    return Plain(in_shape[0] * in_shape[1] * in_shape[2], classes)


def folders(store: Store, record: Record) -> dict[str, Path]:
    return {role: store.folder(network.digest) for role, network in roles(record).items()}


def weights(store: Store, record: Record) -> dict[str, dict[str, torch.Tensor]]:
    return {
        stage: load_file(folder / "model.safetensors") for stage, folder in folders(store, record).items()
    }


def assert_same_bits(a: tuple[Store, Record], b: tuple[Store, Record]) -> None:
    assert bits(a[1]) == bits(b[1])
    for stage, tensors in weights(*a).items():
        for name, tensor in weights(*b)[stage].items():
            assert torch.equal(tensor, tensors[name]), (stage, name)
