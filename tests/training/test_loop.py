"""The options of the loop: what each must leave as it is, and the closed form of what it changes."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from isoprune.methods.schedules import constant
from isoprune.training import Loop, evaluate
from isoprune.training.loop import PLAIN
from isoprune.training.prepare import unsynced_
from isoprune.types import IsopruneError
from isoprune.types.training_cost import samples_estimated

from .small import drawn, fit, seeded, small_net, small_splits

RECIPE = {"epochs": 2, "lr": 0.05, "schedule": constant(), "batch": 5, "momentum": 0.8, "weight_decay": 0.02}


def smooth_net(dtype: torch.dtype = torch.float64) -> nn.Module:
    """The small network without BatchNorm, which is all that couples the samples of a batch."""
    return nn.Sequential(*(m for m in small_net(dtype) if not isinstance(m, nn.BatchNorm1d)))


def image_net(dtype: torch.dtype = torch.float64) -> nn.Module:
    net = nn.Sequential(nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).to(
        dtype
    )
    return drawn(net)


def train(net: nn.Module, loop: Loop = PLAIN, **changes):
    splits = changes.pop("splits", small_splits(dtype=next(net.parameters()).dtype))
    return fit(net, splits, **{**RECIPE, **changes}, loop=loop, generator=seeded(3))


def assert_same(a, b, **tolerance):
    (got, history), (want, rows) = a, b
    for key, tensor in want.state_dict().items():
        torch.testing.assert_close(got.state_dict()[key], tensor, **tolerance)
    for row, other in zip(history, rows, strict=True):
        assert row.keys() == other.keys()
        for key in row.keys() - {"seconds"}:
            assert row[key] == pytest.approx(other[key], rel=tolerance.get("rtol", 1e-9))


@pytest.mark.parametrize("parts", [2, 3, 5, 7])
@pytest.mark.parametrize("batch", [5, 23, 1])
def test_accumulation_changes_the_memory_and_not_the_gradient(parts, batch):
    """Parts may be of unequal sizes, and more than there are samples."""
    plain = train(smooth_net(), batch=batch)
    assert_same(train(smooth_net(), Loop(accumulate=parts), batch=batch), plain)


def test_a_layout_changes_no_number_and_is_gone_afterwards():
    got, history = train(image_net(), Loop(channels_last=True))
    assert_same((got, history), train(image_net()))
    assert all(p.is_contiguous() for p in got.parameters())


def test_a_gradient_is_cut_to_the_longest_that_is_allowed():
    """One step of plain gradient descent moves the weights by lr times the norm of the gradient."""
    splits, net = small_splits(), smooth_net()
    loss = cross_entropy(net(splits.train.inputs), splits.train.targets)
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    norm = math.sqrt(sum(g.square().sum().item() for g in gradients))
    for clip, moved in ((norm / 3, norm / 3), (2 * norm, norm)):
        one = {"epochs": 1, "batch": 23, "momentum": 0.0, "weight_decay": 0.0}
        got, _ = train(smooth_net(), Loop(clip=clip), **one)
        ways = [(a - b).detach() for a, b in zip(got.parameters(), net.parameters(), strict=True)]
        assert math.sqrt(sum(way.square().sum().item() for way in ways)) == pytest.approx(
            RECIPE["lr"] * moved, rel=1e-5
        )


def test_nesterov_is_written_out():
    splits, net = small_splits(), smooth_net()
    got, _ = train(smooth_net(), Loop(nesterov=True), batch=23, epochs=4)
    velocity = [torch.zeros_like(p) for p in net.parameters()]
    for _ in range(4):
        loss = cross_entropy(net(splits.train.inputs), splits.train.targets)
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for p, v, g in zip(net.parameters(), velocity, gradients, strict=True):
                g = g + RECIPE["weight_decay"] * p
                v.mul_(RECIPE["momentum"]).add_(g)
                p.sub_(RECIPE["lr"] * (g + RECIPE["momentum"] * v))
    for a, b in zip(got.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_label_smoothing_mixes_the_label_with_all_classes():
    splits = small_splits()
    _, history = train(smooth_net(), Loop(label_smoothing=0.3), lr=0.0, epochs=1)
    logs = smooth_net()(splits.train.inputs).log_softmax(1).detach()
    wanted = 0.7 * torch.eye(3, dtype=torch.float64)[splits.train.targets] + 0.1
    assert history[1]["loss"] == pytest.approx(-(wanted * logs).sum(1).mean().item(), rel=1e-12)


@pytest.mark.parametrize(("average", "last"), [(0.3, 3), (0.99, 10), (0.01, 1)])
def test_averaged_weights_are_the_mean_of_those_of_the_last_steps(average, last):
    """10 steps; with a constant rate, the weights after k are those of a training of k steps."""
    got, history = train(smooth_net(), Loop(average=average))
    each = [train(smooth_net(), steps=k)[0] for k in range(11 - last, 11)]
    for name, p in got.named_parameters():
        mean = torch.stack([net.get_parameter(name) for net in each]).mean(0)
        torch.testing.assert_close(p, mean)
    assert evaluate(got, small_splits().validation)["loss"] == history[-1]["validation_loss"]


def test_statistics_of_averaged_weights_are_those_of_the_training_data():
    splits = small_splits(train=20)  # batches of one size: their mean is that of the samples
    got, _ = train(small_net(), Loop(average=0.5), splits=splits)
    inputs = got[:2](splits.train.inputs).detach()
    torch.testing.assert_close(got[2].running_mean, inputs.mean(0))
    variances = torch.stack([part.var(0) for part in inputs.split(5)]).mean(0)
    torch.testing.assert_close(got[2].running_var, variances)


def test_statistics_of_averaged_weights_are_those_of_1024_drawn_samples_of_many():
    """Sorted by what they are, the first 1,024 of these would be far off; drawn ones by a few errors."""
    splits = small_splits(train=4000)
    order = splits.train.inputs[:, 0, 0, 0].argsort()
    train_part = replace(splits.train, inputs=splits.train.inputs[order], targets=splits.train.targets[order])
    splits = replace(splits, train=train_part)
    got, _ = train(small_net(), Loop(average=0.5), splits=splits, batch=64, epochs=1)
    inputs = got[:2](train_part.inputs).detach()
    off = (got[2].running_mean - inputs.mean(0)).abs() / inputs.std(0)
    assert off.max() < 5 / math.sqrt(1024)
    assert off.min() > 0
    assert int(got[2].num_batches_tracked) == samples_estimated(4000, batch=64) // 64 == 16


def test_bf16_trains_near_full_precision_and_keeps_float32_weights():
    got, history = train(small_net(torch.float32), Loop(precision="bf16"))
    want, rows = train(small_net(torch.float32))
    assert {p.dtype for p in got.parameters()} == {torch.float32}
    assert history[-1]["loss"] == pytest.approx(rows[-1]["loss"], rel=0.05)
    assert not torch.equal(got[1].weight, want[1].weight)
    # bfloat16 has 8 bits: relative steps of 2^-8.
    torch.testing.assert_close(got[1].weight, want[1].weight, rtol=0.05, atol=0.02)
    assert history[0]["validation_loss"] == rows[0]["validation_loss"]


@pytest.mark.matrix
@pytest.mark.filterwarnings("default")
def test_compiled_steps_are_the_plain_ones():
    compiled = train(smooth_net(torch.float32), Loop(compile=True))
    assert_same(compiled, train(smooth_net(torch.float32)), rtol=1e-4, atol=1e-6)
    assert type(compiled[0]) is nn.Sequential


def test_one_process_needs_no_synchronised_batchnorm():
    assert_same(train(small_net(), Loop(sync_batchnorm=True)), train(small_net()))


def test_a_synchronised_batchnorm_becomes_what_it_was():
    original = image_net()
    original[1].running_mean.fill_(0.5)
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(original))
    assert isinstance(synced[1], nn.SyncBatchNorm)
    with torch.no_grad():
        synced[1].weight.add_(1)
    unsynced_(synced, original)
    assert type(synced[1]) is nn.BatchNorm2d
    torch.testing.assert_close(synced[1].weight, original[1].weight + 1)
    assert torch.equal(synced[1].running_mean, original[1].running_mean)
    assert original[1].weight is not synced[1].weight


class Noisy(nn.Module):
    """Dropout, which draws from torch's global generator."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.drop = smooth_net(), nn.Dropout(0.5)

    def forward(self, x):
        return self.net[3:](self.drop(self.net[:3](x)))


def test_what_layers_draw_depends_on_the_generator_alone_and_torchs_is_left_alone():
    torch.manual_seed(1)
    first, _ = train(Noisy())
    net = Noisy()
    state = torch.get_rng_state()
    again, _ = train(net)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.net[1].weight, again.net[1].weight)
    other, _ = fit(Noisy(), small_splits(), **RECIPE, generator=seeded(4))
    assert not torch.equal(first.net[1].weight, other.net[1].weight)


@pytest.mark.parametrize(
    ("loop", "changes", "why"),
    [
        (Loop(precision="fp8"), {}, "precision is 'fp8'. Give one of: full, bf16"),
        (Loop(accumulate=0), {}, "accumulate is 0, but a batch has at least 1 part"),
        (Loop(clip=0.0), {}, r"clip is 0\.0\. Give the largest norm"),
        (Loop(clip=math.inf), {}, "clip is inf"),
        (Loop(label_smoothing=1.0), {}, r"label_smoothing is 1\.0, outside \[0, 1\)"),
        (Loop(average=-0.1), {}, r"average is -0\.1, outside \[0, 1\)"),
        (Loop(nesterov=True), {"momentum": 0.0}, "nesterov needs momentum, which is 0"),
        (Loop(precision="bf16"), {}, r"keeps its weights in float32.*model\.float\(\)"),
    ],
)
def test_options_that_mean_nothing_are_refused_in_words(loop, changes, why):
    with pytest.raises(IsopruneError, match=why):
        train(small_net(), loop, **changes)
