"""Weight rewinding: the dense network as it was after an epoch, kept while it trains, or trained again.

Sources: Frankle, Dziugaite, Roy & Carbin, Linear mode connectivity and the lottery ticket hypothesis, ICML
2020; Renda, Frankle & Carbin, Comparing rewinding and fine-tuning, ICLR 2020.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from msgspec import structs
from torch import Tensor, nn

from isoprune.experiment.networks import Made
from isoprune.experiment.recipe_steps import PlacedStep
from isoprune.experiment.step_result import Bench, StepResult, dense_of
from isoprune.experiment.step_types import Rewind
from isoprune.experiment.steps.train import trained
from isoprune.graph import trace
from isoprune.pruning import prune_by
from isoprune.pruning.mask import masked, masks_of
from isoprune.pruning.residual_blocks import without_blocks
from isoprune.training import Watch, checkpoint
from isoprune.types import Plan
from isoprune.types.errors import IsopruneError
from isoprune.types.units import DEPTH

Row = Mapping[str, Any]
Keep = Callable[[int, nn.Module], object]
# A training that calls the first with every epoch's network, and then the second with the epoch's row.
Train = Callable[[Keep, Callable[[Row], object]], object]

# What must come out the same when an epoch is trained again; seconds and what is measured besides need not.
SAME = ("loss", "validation_loss")


def make_rewound(bench: Bench, step: PlacedStep, way: Sequence[StepResult], _: Path) -> Made:
    """Return what stays, with the weights that it had after an epoch of the dense training."""
    assert isinstance(step.step, Rewind)
    last = way[-1]
    model, masks = earlier(bench, way, step.step.epoch), masks_of(last.model)
    small = masked(model, masks) if masks else rewound(model, last.plan, bench.example())
    return Made(small, last.plan, last.costs)


def earlier(bench: Bench, way: Sequence[StepResult], epoch: int) -> nn.Module:
    """Return the dense network as it was after an epoch: as stored, or trained once more.

    Of several trainings before anything goes it is the last: epoch 0 is what the one before it ended with.
    """
    dense = dense_of(way)
    start = next((made.model for made, next_ in pairwise(way) if next_ is dense), None)
    training = dense.step.training
    assert training is not None

    def train(keep: Keep, on_epoch: Callable[[Row], object]) -> None:
        again = training
        if "advice" in dense.facts:  # Not once more at the rates that were given up.
            again = structs.replace(training, lr=dense.facts["advice"]["lr"])
        watch = Watch(keep=keep, on_epoch=on_epoch)
        trained(
            bench, bench.drawn() if start is None else start, again, dense.step, dense.folder, again=watch
        )

    model = copy.deepcopy(dense.model).eval()
    if epoch < training.epochs:
        with bench.store.making(dense.folder):
            model.load_state_dict(state_at(dense.folder, epoch, dense.facts["history"], train))
    return model


class _Reached(Exception):
    """The epoch that was wanted is over."""


def kept_path(folder: Path, epoch: int) -> Path:
    """Return where the dense network of ``folder`` is kept as it was after ``epoch``."""
    return folder / f"epoch-{epoch}.safetensors"


def keeper(folder: Path, epochs: Sequence[int]) -> Keep:
    """Return what keeps the network after each of ``epochs`` in ``folder``, whole or not at all."""

    def keep(epoch: int, model: nn.Module) -> None:
        if epoch in epochs:
            checkpoint.write(kept_path(folder, epoch), model.state_dict(), _facts(folder, epoch))

    return keep


def state_at(folder: Path, epoch: int, history: Sequence[Row], train: Train) -> dict[str, Tensor]:
    """Return the dense network's tensors after ``epoch``: as stored, or from training once more.

    Raises:
        IsopruneError: If the training ended before that epoch, or is not the same again.
    """
    if epoch > history[-1]["epoch"]:
        raise IsopruneError(
            f"rewind is {epoch}, but the dense training ended after epoch {history[-1]['epoch']}, as "
            "dense.steps says. Lower rewind, or raise dense.steps."
        )
    kept = read_kept(folder, epoch)
    return train_again(folder, epoch, history, train) if kept is None else kept


def read_kept(folder: Path, epoch: int) -> dict[str, Tensor] | None:
    """Return the state after ``epoch``; None if it was not kept, or is damaged: it can be trained again."""
    try:
        found = checkpoint.read(kept_path(folder, epoch))
    except checkpoint.Damaged:
        return None
    return None if found is None or found[1] != _facts(folder, epoch) else found[0]


def train_again(folder: Path, epoch: int, history: Sequence[Row], train: Train) -> dict[str, Tensor]:
    """Return the state after ``epoch`` of a dense network that has been trained without keeping it.

    It is trained a second time, up to there, and kept.

    Raises:
        IsopruneError: If the losses are not, bit by bit, those of the first time (``history``).
    """
    state: dict[str, Tensor] = {}

    def keep(number: int, model: nn.Module) -> None:
        if number == epoch:
            state.update({name: t.detach().clone() for name, t in model.state_dict().items()})

    def compare(row: Row) -> None:
        number = row["epoch"]
        first = history[number]
        for name in SAME:
            if row.get(name) != first.get(name):
                raise IsopruneError(
                    f"The dense network in {folder} did not keep its state after epoch {epoch}, and when it "
                    f"is trained again its {name} after epoch {number} is {row.get(name)}, not "
                    f"{first.get(name)}: other versions or another machine. Delete {folder} and start again: "
                    "it then keeps that state."
                )
        if number == epoch:
            raise _Reached

    with suppress(_Reached):
        train(keep, compare)
    checkpoint.write(kept_path(folder, epoch), state, _facts(folder, epoch))
    return state


def _facts(folder: Path, epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "of": folder.name}


def rewound(model: nn.Module, plan: Plan, example: Tensor) -> nn.Module:
    """Return an earlier network without what ``plan`` removes.

    Weights, biases and BatchNorm's statistics are its own, bit by bit, where ``plan`` keeps them.
    """
    if plan.grain == DEPTH:
        return without_blocks(model, plan)
    return prune_by(model, example, trace(model, example), lambda _graph, _links: plan).model
