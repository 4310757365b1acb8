"""What tells one training from another, so that a checkpoint is gone on with by its own alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from isoprune.methods.penalties import Penalty
from isoprune.methods.schedules import step_decay
from isoprune.types import Data, IsopruneError, Task

from .resuming import RECIPE, train
from .small import small_net, small_splits

SQUARES = Task(loss=lambda outputs, _: outputs.square().mean())
FOURTH_POWERS = Task(loss=lambda outputs, _: outputs.pow(4).mean())


def halved_within(progress: float) -> float:
    """Return the factor of `RECIPE`, halved in the second half of each epoch."""
    return RECIPE["schedule"](progress) * (0.5 if 4 * progress % 1 > 0.5 else 1.0)


def with_dropout(fraction: float) -> nn.Module:
    net = small_net(torch.float32)
    net[3] = nn.Dropout(fraction)
    return net


def unshuffled() -> Data:
    data = small_splits(dtype=torch.float32)
    train = TensorDataset(data.train.inputs, data.train.targets)
    return Data(DataLoader(train, 5), data.validation)


def wider() -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3))
    return net.requires_grad_(True)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model": wider()}, r"another network: shape of 1\.weight is \[5, 6\] there and \[7, 6\] here"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(6, 3))}, r"another network: shape of 1\.weight"),
        ({"epochs": 5}, "another training: epochs is 4 there and 5 here"),
        ({"batch": 6}, "another training: batch is 5 there and 6 here"),
        ({"momentum": 0.9}, "momentum is 0.8 there and 0.9 here"),
        ({"weight_decay": 0.0}, "weight_decay is 0.02 there and 0.0 here"),
        ({"lr": 0.5}, "lr of epoch 1 is 0.05 there and 0.5 here"),
        (
            {"schedule": step_decay(epochs=4, milestones=[3], gamma=0.3)},
            "lr of epoch 3 is 0.015 there and 0.05",
        ),
        # Alike where epochs begin, and not in between.
        ({"schedule": halved_within}, "digest of the learning rates is"),
        (
            {"optimizer": lambda p: torch.optim.SGD(p, 0.05, 0.8, weight_decay=0.02)},
            "fused is True there and ",
        ),
        ({"optimizer": "adamw"}, r"optimizer is torch\.optim\.sgd\.SGD there and torch\.optim\.adamw\.AdamW"),
        ({"task": SQUARES}, "task is classification there and own here"),
        ({"splits": unshuffled()}, "shuffled is True there and "),
        ({"model": with_dropout(0.0)}, "another network: digest of the modules is"),
        ({"seed": 4}, "digest of the generator is"),
        ({"splits": small_splits(dtype=torch.float32, seed=1)}, "digest of the data is"),
        (
            {"model": small_net(torch.float32)[:4].append(nn.Linear(5, 3))},
            "digest of the starting weights is",
        ),
    ],
)
def test_the_checkpoint_of_another_training_is_refused(tmp_path, changes, why):
    train(tmp_path / "dense")
    before = (tmp_path / "dense.safetensors").read_bytes()
    with pytest.raises(IsopruneError, match=why) as caught:
        train(tmp_path / "dense", **changes)
    assert str(caught.value).endswith("Delete it, or give another path.")
    assert (tmp_path / "dense.safetensors").read_bytes() == before


def adamw(second: float) -> Callable[..., torch.optim.Optimizer]:
    return lambda parameters: torch.optim.AdamW(parameters, 0.01, betas=(0.9, second))


def penalty(strength: float) -> Callable[[nn.Module], Penalty]:
    return lambda model: Penalty(lambda _: strength * model[1].weight.square().sum())


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ({"task": SQUARES}, {"task": FOURTH_POWERS}, "digest of the task's loss is"),
        ({"optimizer": adamw(0.9)}, {"optimizer": adamw(0.99)}, "digest of betas is"),
        ({"penalty": penalty(1e-3)}, {"penalty": penalty(1e-2)}, "digest of the penalty is"),
        ({"model": with_dropout(0.1)}, {"model": with_dropout(0.2)}, "digest of the modules is"),
    ],
)
def test_options_inside_functions_and_modules_tell_trainings_apart(tmp_path, first, second, why):
    train(tmp_path / "x", **first)
    train(tmp_path / "x", **first)
    with pytest.raises(IsopruneError, match=why):
        train(tmp_path / "x", **second)
