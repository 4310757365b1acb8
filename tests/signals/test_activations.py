"""Inputs, and what modules read and make of them, against forwards by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isoprune.signals import Signals
from isoprune.types import IsopruneError, Task
from signals.nets import drawn


def test_inputs_are_the_first_samples_of_any_structure():
    net, batches, task = drawn("mlp")
    signals = Signals(net, batches, task)
    every = torch.cat([x for x, _ in batches])
    for samples in (1, 2, 3, 5, 99):
        assert torch.equal(signals.inputs(samples), every[:samples])
    assert [len(x) for x in signals.chunks(5, chunk=2)] == [2, 2, 1]
    net, batches, task = drawn("pair")
    found = Signals(net, batches, task).inputs(3)
    assert set(found) == {"u", "v"}
    assert torch.equal(found["u"], torch.cat([b["u"] for b in batches])[:3])


def test_samples_that_do_not_go_into_one_batch_are_told_by_their_shapes():
    batches = [(torch.zeros(2, 1, width), torch.zeros(2)) for width in (4, 5)]
    signals = Signals(nn.Identity(), batches)
    assert signals.inputs(2).shape == (2, 1, 4)
    with pytest.raises(IsopruneError, match=r"Samples of shapes \(1, 4\) and \(1, 5\) do not go into one"):
        signals.inputs(3)


def test_a_detector_s_lists_are_cut_as_lists():
    images = [torch.randn(3, size, size) for size in (4, 5, 6)]
    batch = [(image, {"boxes": torch.rand(2, 4)}) for image in images]
    task = Task(inputs=lambda batch: ([image for image, _ in batch],), loss=lambda out, _: out)
    signals = Signals(nn.Identity(), [batch, batch[:2]], task)
    for number in (2, 5):
        (found,) = signals.inputs(number)
        assert [i.shape for i in found] == [i.shape for i in (images + images)[:number]]


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("samples", [2, 3, 5])
def test_several_inputs_are_cut_each(kind, samples):
    pair = kind(torch.randn(samples, 4, width) for width in (3, 5))
    signals = Signals(nn.Identity(), [(pair, torch.zeros(samples))])
    found = signals.inputs(1)
    assert [t.shape for t in found] == [(1, 4, 3), (1, 4, 5)]


def test_a_batch_that_cannot_be_cut_is_refused():
    batch = {"x": torch.randn(4, 3), "table": torch.randn(2, 3)}
    signals = Signals(nn.Linear(3, 2), [batch], Task(inputs=lambda batch: batch["x"]))
    with pytest.raises(IsopruneError, match=r"A batch of 4 samples holds a part of shape \(2, 3\)"):
        signals.inputs(2)


def test_activations_are_what_modules_read_and_made():
    net, batches, task = drawn("mlp")
    found = list(Signals(net, batches, task).activations(["0", "2"]))
    net.eval()
    for (x, _), runs in zip(batches, found, strict=True):
        (first,), (second,) = runs["0"], runs["2"]
        torch.testing.assert_close(first.read[0], x)
        torch.testing.assert_close(first.made, net[0](x))
        torch.testing.assert_close(second.read[0], net[1](net[0](x)))
        assert first.gradient is None
        assert not first.made.requires_grad


def test_activations_of_some_samples_only():
    net, batches, task = drawn("mlp")
    found = list(Signals(net, batches, task).activations(["0"], samples=3))
    assert [len(runs["0"][0].made) for runs in found] == [2, 1]


def test_gradients_of_activations_are_those_of_the_rest_of_the_network():
    net, batches, task = drawn("mlp")
    found = list(Signals(net, batches, task).activations(["0"], gradients=True))
    net.eval()
    for (x, y), runs in zip(batches, found, strict=True):
        h = net[0](x).detach().requires_grad_()
        want = torch.autograd.grad(F.cross_entropy(net[1:](h), y), h)[0]
        torch.testing.assert_close(runs["0"][0].gradient, want)
        assert not runs["0"][0].made.requires_grad


def test_a_module_that_runs_twice_has_two_runs():
    layer = nn.Linear(3, 3).double()
    _, batches, task = drawn("mlp")
    (first, *_) = Signals(nn.Sequential(layer, nn.Tanh(), layer), batches, task).activations(["0"])
    assert len(first["0"]) == 2
    torch.testing.assert_close(first["0"][1].read[0], torch.tanh(first["0"][0].made))


def test_an_unknown_module_is_refused_with_the_nearest():
    net, batches, task = drawn("pair")
    with pytest.raises(IsopruneError, match=r"no module 'attned'\. Did you mean 'attend'"):
        list(Signals(net, batches, task).activations(["attned"]))


class Detector(nn.Module):
    """Losses in train mode, boxes in eval mode, as torchvision's; draws what it trains on."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm, self.drop = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)

    def forward(self, images, targets=None):
        found = self.drop(self.norm(self.layer(torch.stack([image.mean((1, 2)) for image in images]))))
        if not self.training:
            return [{"boxes": row[None]} for row in found]
        wanted = torch.stack([target["boxes"][0] for target in targets])
        return {"boxes": (found - wanted).square().mean() + 0 * torch.rand(()), "objects": found.mean()}


def test_a_detector_s_losses_are_those_of_train_mode_with_norms_and_dropout_in_eval_mode():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Detector().double().eval()
        images = [torch.randn(3, size, size, dtype=torch.float64) for size in (4, 5, 6)]
        targets = [{"boxes": torch.rand(1, 4, dtype=torch.float64)} for _ in images]
    task = Task(
        inputs=lambda batch: batch, loss=lambda losses, _: sum(losses.values()), loss_in_train_mode=True,
        samples=lambda batch: len(batch[0]),
    )  # fmt: skip
    state = torch.random.get_rng_state()
    signals = Signals(net, [(images, targets)], task)
    rows = torch.stack([image.mean((1, 2)) for image in images])
    made = net.norm(net.layer(rows))
    loss = (made - torch.cat([t["boxes"] for t in targets])).square().mean() + made.mean()
    (want,) = torch.autograd.grad(loss, net.layer.weight)
    torch.testing.assert_close(signals.gradients["layer.weight"], want)
    each = [chunk["layer.weight"] for chunk in signals.sample_gradients()]
    torch.testing.assert_close(torch.cat(each).mean(0), want)
    (runs,) = signals.activations(["layer"], gradients=True)
    assert runs["layer"][0].gradient.shape == (3, 4)
    assert torch.equal(torch.random.get_rng_state(), state)
