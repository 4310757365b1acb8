"""Checkpoints of a training: all that it needs to go on as if it had never stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from isoprune.training import checkpoint
from isoprune.training.processes import Processes
from isoprune.training.settings import Row
from isoprune.types import IsopruneError, PenaltyTerm

logger = logging.getLogger("isoprune")


@dataclass(frozen=True)
class State:
    """All that a step changes."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    generator: Generator
    averaged: AveragedModel | None = None
    penalty: PenaltyTerm | None = None


@dataclass(frozen=True)
class Progress:
    """How far a training is: rows of whole epochs, and the partial sums of the epoch that ``step`` is in."""

    history: list[Row] = field(default_factory=list)
    step: int = 0
    seconds: float = 0.0
    sums: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass
class Pace:
    """When the next checkpoint within an epoch is due: by steps if they are given, else by the clock.

    By the clock, writing takes less than a fiftieth of the time, however slow the disk is.
    """

    steps: int | None
    seconds: float
    last: float = field(default_factory=time.monotonic)
    cost: float = 0.0

    def due(self, step: int) -> bool:
        if self.steps is not None:
            return step % self.steps == 0
        return time.monotonic() - self.last >= max(self.seconds, 50 * self.cost)

    def written(self, began: float) -> None:
        self.last = time.monotonic()
        self.cost = self.last - began


@dataclass
class Checkpoints:
    """The checkpoint of one training: all processes ask, the main one reads and writes.

    ``kept`` says, for an error's message, what the file holds.
    """

    base: Path
    state: State
    run: Mapping[str, Any]
    here: Processes
    pace: Pace
    kept: str = ""

    @property
    def path(self) -> Path:
        return self.base.with_name(f"{self.base.name}.safetensors")

    def restored(self) -> Progress:
        """Bring the state to that of the file, and return how far it was; without a file, not at all."""
        found = self.here.from_main(lambda: find(self.path, run=self.run))
        if found is None:
            return Progress()
        progress = restore_(self.state, *found)
        self._tell(progress)
        return progress

    def due(self, step: int) -> bool:
        if self.pace.steps is None and self.here.count > 1:
            # The clocks of several processes differ, so that of the main one counts, and not at every step.
            return step % 50 == 0 and self.here.from_main(lambda: self.pace.due(step))
        return self.pace.due(step)

    def write(self, progress: Progress, *, drawn: Tensor | None = None) -> None:
        """Write everything; ``drawn`` is the generator's state before the order of an unfinished epoch."""
        began = time.monotonic()
        if self.here.main:
            save(self.path, self.state, progress, run=self.run, drawn=drawn)
        self.pace.written(began)
        self._tell(progress)

    def _tell(self, progress: Progress) -> None:
        epoch = len(progress.history)
        place = f"step {progress.step} of epoch {epoch}" if progress.step else f"epoch {epoch - 1}"
        self.kept = f" The state after {place} is kept in {self.path}."


def save(
    path: Path, state: State, progress: Progress, *, run: Mapping[str, Any], drawn: Tensor | None
) -> None:
    """Write weights, buffers, the optimizer's state, averages, generator state and progress."""
    tensors = {f"model/{name}": t for name, t in state.model.state_dict().items()}
    tensors |= {f"buffer/{name}": t for name, t in _unlisted_buffers(state.model)}
    of_optimizer, numbers = described(state.optimizer)
    tensors |= {f"optimizer/{name}": t for name, t in of_optimizer.items()}
    if state.averaged is not None:
        tensors |= {f"average/{name}": t for name, t in state.averaged.state_dict().items()}
    if state.penalty is not None:
        tensors |= {f"penalty/{name}": t for name, t in state.penalty.state_dict().items()}
    tensors |= {f"sums/{name}": t for name, t in progress.sums.items()}
    tensors["generator"] = state.generator.get_state() if drawn is None else drawn
    facts: dict[str, Any] = {"run": dict(run), "history": progress.history, "optimizer": numbers}
    if progress.step:
        facts |= {"step": progress.step, "seconds": progress.seconds}
    checkpoint.write(path, tensors, facts)


def _unlisted_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the buffers that a state dict leaves out (``persistent=False``): steps may change them too."""
    listed = model.state_dict().keys()
    yield from ((name, t) for name, t in model.named_buffers() if name not in listed)


def find(path: Path, *, run: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the content of the checkpoint at ``path``; None if there is none to resume from.

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
        return None
    if found is None:
        return None
    there = found[1]["run"]
    for key in dict.fromkeys([*run, *there]):
        if run.get(key) != there.get(key):
            network = "network" if key.startswith(("shape of ", "digest of the modules")) else "training"
            raise IsopruneError(
                f"{path} is the checkpoint of another {network}: {key} is {there.get(key)} there and "
                f"{run.get(key)} here. Delete it, or give another path."
            )
    return found


def restore_(state: State, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Progress:
    """Bring everything to the state that a checkpoint holds, and return how far it was."""

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}

    state.model.load_state_dict(part("model/"))
    with torch.no_grad():
        for name, buffer in part("buffer/").items():
            state.model.get_buffer(name).copy_(buffer)
    restore_optimizer_(state.optimizer, part("optimizer/"), facts["optimizer"])
    if state.averaged is not None and (averages := part("average/")):
        state.averaged.load_state_dict(averages)
    if state.penalty is not None:
        state.penalty.load_state_dict(part("penalty/"))
    state.generator.set_state(tensors["generator"])
    return Progress(facts["history"], facts.get("step", 0), facts.get("seconds", 0.0), part("sums/"))


def described(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of the state, by parameter and name, and its numbers and those of its groups.

    Raises:
        IsopruneError: If it keeps anything else.
    """
    whole = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for place, state in whole["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{place}/{name}"] = value
            elif value is None or isinstance(value, bool | int | float):
                numbers.setdefault(str(place), {})[name] = value
            else:
                raise IsopruneError(
                    f"{type(optimizer).__name__} keeps {name}, a {type(value).__name__}, which a checkpoint "
                    "cannot hold: it takes tensors and numbers. Train without a checkpoint."
                )
    groups = [
        {name: value for name, value in group.items() if isinstance(value, bool | int | float)}
        for group in whole["param_groups"]
    ]
    return tensors, {"state": numbers, "groups": groups}


def restore_optimizer_(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]
) -> None:
    """Bring an optimizer that was built alike to the state that `described` returned."""
    state: dict[int, dict[str, Any]] = {int(place): dict(own) for place, own in numbers["state"].items()}
    for key, value in tensors.items():
        place, _, name = key.partition("/")
        state.setdefault(int(place), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    groups = [{**own, **kept} for own, kept in zip(groups, numbers["groups"], strict=True)]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for parameter, own in optimizer.state.items():
        for name, value in own.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                # Laid out as the parameter is, which a fused update may want.
                own[name] = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
