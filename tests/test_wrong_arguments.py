"""Wrong arguments of the verbs that train, and of those that read a plan: one line that says what to give."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import isoprune
from isoprune.types import IsopruneError

X = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(32) % 4


def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def loader(inputs=X, labels=Y) -> DataLoader:
    return DataLoader(TensorDataset(inputs, labels), batch_size=8)


def rows(network: isoprune.Pruned) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in network.history[-1]["rows"]]


def test_training_data_alone_are_the_train_part(tmp_path):
    how = {"lr": 0.1, "epochs": 1}
    want = isoprune.retrain(net(), train=loader(), validation=loader(), **how)
    for data in (loader(), [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 32, 8)]):
        made = isoprune.retrain(net(), data, validation=loader(), saving=str(tmp_path / "state"), **how)
        assert rows(made)[0] == rows(want)[0]
        (tmp_path / "state.safetensors").unlink()
    assert rows(isoprune.retrain(net(), isoprune.Data(loader(), loader()), **how)) == rows(want)
    found = isoprune.advise(net(), loader(), epochs=2)
    assert found == isoprune.advise(net(), train=loader(), epochs=2)
    path = isoprune.instability(net(), loader(), validation=loader(), points=2, **how)
    assert path == isoprune.instability(net(), train=loader(), validation=loader(), points=2, **how)


def test_the_loop_may_be_given_by_its_options():
    how = {"train": loader(), "lr": 0.1, "epochs": 1}
    want = isoprune.retrain(net(), loop=isoprune.Loop(clip=0.01), **how)
    assert rows(isoprune.retrain(net(), loop={"clip": 0.01}, **how)) == rows(want)
    assert rows(isoprune.retrain(net(), **how)) != rows(want)


def test_accuracies_before_and_after_stand_in_what_is_shown():
    small = isoprune.retrain(net(), train=loader(), validation=loader(), lr=0.1, epochs=2)
    first, last = (row["validation_accuracy"] for row in (rows(small)[0], rows(small)[-1]))
    assert f"validation accuracy: {first:.4g} before retraining, {last:.4g} after" in repr(small)
    assert isoprune.evaluate(small, loader())["accuracy"] == last
    smaller = isoprune.prune(small, ratio=0.5)
    assert f"{last:.4g} after, and then prune: isoprune.evaluate says" in " ".join(repr(smaller).split())


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"data": isoprune.Data(loader()), "train": loader()}, r"came as the first argument and as train="),
        ({"data": isoprune.Data(loader()), "train": None, "validation": loader()}, r"and as validation="),
        ({"data": loader()}, r"and as train="),
        ({"train": None}, "nothing to train on"),
        ({"train": X}, r"The data is a tensor.*Give a list of batches"),
        ({"train": (X, Y)}, r"The data is inputs and targets.*TensorDataset"),
        ({"validation": "val"}, "A str is no data"),
        ({"train": loader(labels=Y + 2)}, r"Labels are 0 to 3 .* these are 2 to 5: number them from 0"),
        ({"train": loader(labels=Y.float())}, r"Labels are whole numbers: give labels\.long\(\)"),
        ({"train": loader(labels=Y[:, None])}, r"give labels\.squeeze\(1\)"),
        ({"train": loader(labels=Y + 2), "validation": loader(labels=Y + 2)}, r"metric .* Labels are 0 to 3"),
        ({"train": loader(labels=torch.randn(32, 4))}, "no probabilities of classes"),
        ({"train": loader(X[:, :5])}, r"Sequential does not take .*a tensor of \(1, 5\): RuntimeError: mat1"),
        ({"lr": "0.1"}, r"lr is '0\.1'\. Give a number, or \"auto\""),
        ({"lr": -0.1}, r"lr is -0\.1"),
        ({"lr": float("nan")}, r"lr is nan"),
        ({"epochs": 1.5}, r"epochs is 1\.5\. Give a whole number"),
        ({"epochs": "3"}, r"epochs is '3'"),
        ({"steps": True}, "steps is True"),
        ({"batch": 0}, "batch is 0. Give a whole number, 1 or more"),
        ({"momentum": -1}, r"momentum is -1\. Give a number in \[0, 1\)"),
        ({"weight_decay": -1}, r"weight_decay is -1"),
        ({"schedule": None}, r"schedule is None\. Give a name"),
        ({"optimizer": torch.optim.Adam(net().parameters())}, r"optimizer is a Adam .*parameters: Adam"),
        ({"optimizer": lambda parameters: list(parameters)}, "optimizer gave back a list"),
        ({"optimizer": 7}, "Unknown optimizer 7"),
        ({"loop": {"precison": "bf16"}}, r"Unknown option of loop 'precison'\. Did you mean 'precision'"),
        ({"loop": "bf16"}, "loop is 'bf16'. Give its options"),
        ({"distill": 0.9}, r"distill is 0\.9\. Write for example"),
        ({"metrics": ["accuracy"]}, r"metrics is \['accuracy'\]\. Give functions"),
        ({"loss": nn.MSELoss}, r"loss is <class .*such as nn\.MSELoss\(\)"),
    ],
)  # fmt: skip
def test_retrain_says_in_one_line_what_to_give(given, why):
    how = {"train": loader(), "lr": 0.1, "epochs": 1} | given
    with pytest.raises(IsopruneError, match=why) as caught:
        isoprune.retrain(net(), how.pop("data", None), **how)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [isoprune.verify, isoprune.shrink, lambda network: isoprune.rewind(network, network)],
    ids=["verify", "shrink", "rewind"],
)
def test_verbs_that_read_a_plan_name_what_knows_one(call):
    with pytest.raises(IsopruneError, match=r"a Sequential does not know it\. Give what isoprune\.prune"):
        call(net())


def test_the_error_between_copies_needs_data_to_judge_by():
    with pytest.raises(IsopruneError, match="Give validation=loader"):
        isoprune.instability(net(), loader(), lr=0.1, epochs=1)
