"""What a task says of a batch: its inputs, loss, metrics and size; and masks, which hold under any."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import isoprune
from isoprune.methods.schedules import constant
from isoprune.training import Loop, evaluate
from isoprune.types import CLASSIFICATION, Data, IsopruneError, Metric, Task
from isoprune.types.task import samples_in, task_with, to_device

from .small import fit, seeded, small_net, small_splits

RECIPE = {"epochs": 3, "lr": 0.05, "schedule": constant(), "batch": 5}
IMAGE, WORDS = torch.zeros(3, 8, 8), torch.zeros(5, 7, dtype=torch.long)


@pytest.mark.parametrize(
    ("batch", "samples"),
    [
        (torch.zeros(4, 2), 4),
        ((torch.zeros(4, 2), torch.zeros(4)), 4),
        ([torch.zeros(4, 2), torch.zeros(4)], 4),  # as torch's collate gives it
        ({"input_ids": WORDS, "attention_mask": WORDS}, 5),
        ([{"image": IMAGE}, {"image": IMAGE}], 2),
        (([IMAGE, IMAGE], [{"boxes": WORDS}, {"boxes": WORDS}]), 2),
        (([torch.zeros(4, 2), torch.zeros(4, 3)], torch.zeros(4)), 4),  # two inputs
        ({"inputs": {"a": torch.zeros(6, 1)}}, 6),
        (torch.tensor(3.0), 1),
    ],
)
def test_a_batch_of_any_shape_is_counted(batch, samples):
    assert samples_in(batch) == samples


def test_a_batch_of_any_shape_is_moved():
    batch = {"images": [IMAGE, IMAGE], "ids": ("a", 3), "target": {"boxes": WORDS}}
    moved = to_device(batch, torch.device("meta"))
    assert {moved["images"][1].device.type, moved["target"]["boxes"].device.type} == {"meta"}
    assert moved["ids"] == ("a", 3)


def regression(count: int = 23) -> Any:
    split = small_splits(count).train
    return [{"u": x, "v": y} for x, y in zip(split.inputs, split.inputs.flatten(1)[:, :3].sin(), strict=True)]


def as_dicts(loss: Any = None, **more: Any) -> Task:
    loss = loss or (lambda outputs, batch: mse_loss(outputs, batch["v"]))
    return Task(inputs=lambda batch: batch["u"], loss=loss, **more)


class Samples(torch.utils.data.Dataset):
    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Any:
        return self.rows[place]


def test_any_loss_is_trained_on_and_judged_by_itself_without_metrics():
    data = Data(Samples(regression()), Samples(regression(9)))
    got, history = fit(small_net(), data, **RECIPE, task=as_dicts(metrics={}), generator=seeded())
    inputs, wanted = (torch.stack([row[key] for row in data.validation.rows]) for key in "uv")
    assert history[-1]["validation_loss"] == pytest.approx(mse_loss(got(inputs), wanted).item(), rel=1e-6)
    assert history[-1]["validation_loss"] < history[0]["validation_loss"]
    assert "train_accuracy" not in history[-1]
    assert as_dicts(metrics={}).judged_by == ("loss", False)


def test_a_loss_of_torch_gets_the_targets():
    x, y = torch.randn(7, 6, generator=seeded()), torch.randn(7, 3, generator=seeded(1))
    net = nn.Linear(6, 3)
    want = mse_loss(net(x), y).item()
    for loss in (mse_loss, nn.MSELoss(), lambda outputs, batch: mse_loss(outputs, batch[1])):
        task = task_with(CLASSIFICATION, loss)
        assert evaluate(net, [(x[:4], y[:4]), (x[4:], y[4:])], task=task) == {"loss": pytest.approx(want)}
    small = isoprune.retrain(net, train=[(x, y)], lr=0.1, epochs=20, loss=mse_loss)
    assert mse_loss(small.model(x), y) < want


@pytest.mark.parametrize("batch", [1, 4, 9])
def test_a_metric_of_the_whole_pass_does_not_depend_on_the_batches(batch):
    """Of 9 outputs the median, which no mean of batches gives: entries are put in a list."""
    split, net = small_splits(9).train, small_net()
    median = Metric(lambda outputs, _: outputs[:, 0].tolist(), lambda all, _: sorted(all)[4])
    got = evaluate(net, split, task=Task(metrics={"median": median}), batch=batch)
    assert got["median"] == pytest.approx(net.eval()(split.inputs)[:, 0].median().item(), rel=1e-12)
    mean = Task(metrics={"mean": lambda outputs, _: outputs.mean()})
    assert evaluate(net, split, task=mean, batch=batch)["mean"] == pytest.approx(
        net(split.inputs).mean().item()
    )


class Detector(nn.Module):
    """Gives losses in train mode and finds in eval mode, as torchvision's detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small_net()

    def forward(self, x: Tensor, y: Tensor) -> Any:
        logits = self.net(x)
        if self.training:
            return {"class": nn.functional.cross_entropy(logits, y), "size": logits.square().mean()}
        return [{"label": row.argmax()} for row in logits]


def detecting(**more: Any) -> Task:
    return Task(
        inputs=lambda batch: (batch[0], batch[1]),
        loss=lambda outputs, _: sum(outputs.values()),
        loss_in_train_mode=True,
        **more,
    )


def test_a_loss_of_train_mode_alone_is_trained_on_and_not_evaluated():
    def right(outputs: Any, batch: Any) -> float:
        return sum(float(one["label"] == y) for one, y in zip(outputs, batch[1], strict=True)) / len(outputs)

    splits = small_splits()
    _, history = fit(
        Detector(), splits, **RECIPE, task=detecting(metrics={"right": right}), generator=seeded()
    )
    assert history[-1]["loss"] < history[1]["loss"]
    assert [key for key in history[-1] if key.startswith("validation")] == ["validation_right"]
    with pytest.raises(IsopruneError, match="has no metric, and its loss is one of train mode only"):
        _ = detecting(metrics={}).judged_by


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"optimizer": "adam"},
            r"Unknown optimizer 'adam'\. Did you mean 'adamw'.* a function of the parameters",
        ),
        ({"optimizer": "adamw", "loop": Loop(nesterov=True)}, "nesterov is of SGD"),
        (
            {"task": Task(loss=mse_loss), "loop": Loop(label_smoothing=0.1)},
            "label_smoothing is of a classification",
        ),
        (
            {"task": as_dicts()},
            r"cannot read its inputs off a batch, which is a tuple of Tensor, Tensor: TypeError",
        ),
    ],
)
def test_what_does_not_fit_the_task_is_refused_in_words(changes, why):
    with pytest.raises(IsopruneError, match=why):
        fit(small_net(), small_splits(), **{**RECIPE, **changes}, generator=seeded())


@pytest.mark.parametrize("loop", [Loop(), Loop(average=0.5, clip=1.0)])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_what_a_mask_holds_at_zero_stays_zero_and_comes_back_from_a_checkpoint(tmp_path, optimizer, loop):
    splits = small_splits()
    net = small_net()
    masked = isoprune.prune(net.eval(), splits.train.inputs, 0.5, grain="weight")
    how = {"lr": 0.05, "epochs": 3, "batch": 5, "optimizer": optimizer, "loop": loop, "weight_decay": 0.1}
    trained = isoprune.retrain(masked, splits, **how, saving=tmp_path / "x")
    again = isoprune.retrain(masked, splits, **how, saving=tmp_path / "x")
    assert trained.history[-1]["rows"] == again.history[-1]["rows"]
    zeros = 0
    for (name, weight), mine in zip(plain(masked), plain(trained), strict=True):
        assert torch.equal(weight == 0, mine[1] == 0), name
        assert not torch.equal(weight, mine[1])
        zeros += int((weight == 0).sum())
    assert zeros >= 20
    assert [entry["step"] for entry in trained.history] == ["prune", "retrain"]
    assert trained.plan == masked.plan


def plain(pruned: Any) -> list[tuple[str, Tensor]]:
    return [(f"{i}.weight", pruned.model[i].weight.detach()) for i in (1, 4)]


def test_a_mask_that_is_taken_off_within_a_training_is_noticed():
    from torch.nn.utils import parametrize

    splits = small_splits()
    masked = isoprune.prune(small_net().eval(), splits.train.inputs, 0.5, grain="weight")

    def remove(epoch: int, model: nn.Module) -> None:
        if epoch == 1:
            parametrize.remove_parametrizations(model[1], "weight")
            with torch.no_grad():
                model[1].weight.add_(1)

    with pytest.raises(IsopruneError, match=r"masked elements of 1\.weight are not zero"):
        fit(masked.model, splits, **RECIPE, generator=seeded(), keep=remove)
