"""Criteria and repairs that look at data, of networks with any inputs, any outputs and any loss."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import isoprune
from isoprune.types import IsopruneError


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def body(outputs):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, outputs))


class Named(nn.Module):
    """Two inputs, one of which may be left out; the output is a dict."""

    def __init__(self):
        super().__init__()
        self.m = body(4)

    def forward(self, x, y=None):
        return {"size": x.mean(), "out": self.m(x if y is None else x - y)}


class Boxes(nn.Module):
    """Scores beside boxes, in a tuple."""

    def __init__(self):
        super().__init__()
        self.m, self.box = body(6), nn.Linear(6, 4)

    def forward(self, x):
        h = self.m(x)
        return h, self.box(F.relu(h))


x, other = drawn(32, 8), drawn(32, 8, seed=5)
bits, values, classes, boxes = (
    drawn(32, 1).gt(0).float(),
    drawn(32, 1, seed=2),
    torch.arange(32) % 4,
    drawn(32, 4),
)


@torch.no_grad()
def off(pruned):
    """Return how far what was trained for is from the dense network's."""
    given = pruned.example_inputs
    args = given if isinstance(given, tuple) else (x, other) if isinstance(given, dict) else (given,)
    made, want = (model(*args) for model in (pruned.model, pruned.dense))
    key = "out" if isinstance(want, dict) else 1 if isinstance(want, tuple) else slice(None)
    return float((made[key] - want[key]).square().sum())


def distance(outputs, batch):
    return (outputs - batch[1]).abs().mean()


ENTROPY = nn.BCEWithLogitsLoss()
CASES = {
    "one logit": (lambda: body(1), x, [(x, bits)], {"loss": ENTROPY}),
    "a value": (lambda: body(1), x, [(x, values)], {"loss": F.mse_loss}),
    "several values": (
        lambda: body(4),
        x,
        [(x, boxes)],
        {"loss": distance},
    ),
    "dict": (Named, x, [(x, classes)], {"output": "out"}),
    "two inputs": (Named, (x, other), [((x, other), classes)], {"output": lambda out: out["out"]}),
    "boxes": (Boxes, x, [(x, boxes)], {"output": 1, "loss": nn.SmoothL1Loss()}),
    "a task": (
        Named,
        {"x": x, "y": other},
        [{"x": x, "y": other, "labels": classes}],
        {
            "task": isoprune.Task(
                inputs=lambda b: {"x": b["x"], "y": b["y"]},
                loss=lambda out, b: F.cross_entropy(out["out"], b["labels"]),
                metrics={},
            )
        },
    ),
}


@pytest.mark.parametrize("criterion", ["taylor", "fisher", "snip"])
@pytest.mark.parametrize("name", CASES)
def test_what_goes_is_what_the_given_loss_asks_for(name, criterion):
    make, example, batches, how = CASES[name]
    model = make().eval()
    small = isoprune.prune(model, example, 0.5, criterion=criterion, batches=batches, **how)
    gone = small.plan.removed["m.0" if "m.0" in small.plan.removed else "0"]
    assert len(gone) == 8
    assert gone != tuple(range(8, 16)) or criterion == "snip"  # the last half is what equal scores lose
    assert small.proof.relative_error < 1e-5


def test_taylor_of_one_logit_is_the_slope_of_the_given_loss():
    model = body(1).eval()
    small = isoprune.prune(
        model, x, 0.5, criterion="taylor", batches=[(x, bits)], loss=nn.BCEWithLogitsLoss()
    )
    F.binary_cross_entropy_with_logits(model(x), bits).backward()
    first = model[0]
    slope = ((first.weight * first.weight.grad).sum(1)).abs()
    assert small.plan.removed["0"] == tuple(sorted(slope.argsort()[:8].tolist()))


@pytest.mark.parametrize("method", ["auto", "reconstruct", "balance", "batchnorm"])
@pytest.mark.parametrize("name", CASES)
def test_repairs_take_any_inputs_and_outputs(name, method):
    make, example, batches, how = CASES[name]
    small = isoprune.prune(make().eval(), example, 0.5)
    repaired = isoprune.repair(small, method, batches=batches, **how)
    assert all(torch.isfinite(p).all() for p in repaired.model.parameters())
    if method == "reconstruct":
        assert off(repaired) < off(small)


@pytest.mark.parametrize("method", ["auto", "reconstruct", "batchnorm"])
def test_a_batch_that_is_a_tensor_or_a_list_of_images_is_the_inputs(method):
    small = isoprune.prune(body(4).eval(), x, 0.5)
    alone, first = (isoprune.repair(small, method, batches=b).model for b in ([x], [(x, classes)]))
    torch.testing.assert_close(alone.state_dict(), first.state_dict(), rtol=0, atol=0)
    images = [drawn(3, 5, 5, seed=n) for n in range(3)]
    assert isoprune.types.task.CLASSIFICATION.inputs_of(images) is images


@pytest.mark.parametrize("criterion", ["taylor", "fisher", "snip"])
def test_a_loss_of_inputs_alone_is_refused(criterion):
    for how in ({}, {"loss": nn.MSELoss()}):
        with pytest.raises(
            IsopruneError, match=r"inputs alone, and the loss needs targets\. Give batches of"
        ):
            isoprune.prune(body(4).eval(), x, 0.5, criterion=criterion, batches=[x], **how)


@pytest.mark.parametrize("method", ["auto", "reconstruct", "balance", "batchnorm"])
def test_a_batch_of_names_without_a_task_is_refused_in_words(method):
    small = isoprune.prune(Named().eval(), {"x": x, "y": other}, 0.5)
    with pytest.raises(
        IsopruneError, match=r"cannot read its inputs off a batch, which is a dict of x, y: Key"
    ):
        isoprune.repair(small, method, batches=[{"x": x, "y": other}])


@pytest.mark.parametrize(
    ("make", "targets", "message"),
    [
        (lambda: body(1), torch.zeros(32, dtype=torch.long), "cross-entropy over one class is always 0"),
        (lambda: body(1), bits, "no probabilities of classes"),
        (
            lambda: body(4),
            boxes,
            r"no probabilities of classes, and the loss is cross-entropy\. Give the loss",
        ),
        (lambda: body(4), drawn(32), r"does not take what the network made, a tensor of \(\d+, 4\).*loss="),
        (Named, classes, r"what the network made, a dict of size, out,.*output="),
        (Boxes, classes, r"what the network made, a tuple of Tensor, Tensor,.*output="),
    ],
)
@pytest.mark.parametrize("criterion", ["taylor", "fisher"])
def test_a_loss_that_does_not_fit_is_refused_with_the_way_out(make, targets, message, criterion):
    with pytest.raises(IsopruneError, match=message):
        isoprune.prune(make().eval(), x, 0.5, criterion=criterion, batches=[(x, targets)])


def test_a_loss_that_is_no_scalar_is_refused():
    each = nn.MSELoss(reduction="none")
    with pytest.raises(IsopruneError, match=r"is a tensor of \(32, 4\), not a scalar tensor"):
        isoprune.prune(body(4).eval(), x, 0.5, criterion="taylor", batches=[(x, boxes)], loss=each)


@pytest.mark.parametrize("how", [{}, {"allocation": "global"}, {"grain": "weight"}, {"mask": True}])
def test_scores_that_are_all_zero_are_refused_by_name(how):
    def nothing(outputs, _):
        return 0 * outputs.sum()

    with pytest.raises(IsopruneError, match=r"All \d+ scores of 0(\.weight)? are zero.*loss="):
        isoprune.prune(body(4).eval(), x, 0.5, criterion="snip", batches=[(x, classes)], loss=nothing, **how)


def test_a_layer_of_zeros_is_named_and_can_be_left_out():
    model = body(4).eval()
    nn.init.zeros_(model[2].weight)
    with pytest.raises(IsopruneError, match=r'scores of 2 are zero.*"2": 0'):
        isoprune.prune(model, x, 0.5)
    small = isoprune.prune(model, x, {"*": 0.5, "2": 0})
    assert (small.model[0].out_features, small.model[2].out_features) == (8, 12)


class Tied(nn.Module):
    """A language model whose head is its embedding."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.table = nn.Embedding(50, 16)
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        h = self.table(tokens)
        return self.head(h + self.down(F.relu(self.up(h))))


class TiedFirst(Tied):
    """The same, with the head registered before the table."""

    def __init__(self):
        super().__init__()
        table = self._modules.pop("table")
        self._modules["table"] = table


@pytest.mark.parametrize("make", [Tied, TiedFirst])
@pytest.mark.parametrize("method", ["auto", "reconstruct"])
def test_a_head_tied_to_its_embedding_stays_tied_and_what_it_reads_is_fitted(make, method):
    model, tokens = make().eval(), torch.arange(192).reshape(32, 6) * 7 % 50
    small = isoprune.prune(model, tokens, {"up": 0.5, "table": 0.0})
    repaired = isoprune.repair(small, method, batches=[tokens], task=isoprune.Task(inputs=lambda b: b))
    assert repaired.model.head.weight is repaired.model.table.weight
    with torch.no_grad():
        made, was, want = (m(tokens) for m in (repaired.model, small.model, model))
    assert (made - want).norm() < 0.8 * (was - want).norm()


def test_a_tied_head_of_a_narrower_network_is_repaired():
    model, tokens = Tied().eval(), torch.arange(192).reshape(32, 6) * 7 % 50
    small = isoprune.prune(model, tokens, 0.5)
    repaired = isoprune.repair(small, "reconstruct", batches=[tokens], task=isoprune.Task(inputs=lambda b: b))
    assert torch.equal(repaired.model.table.weight, small.model.table.weight)


def test_a_layer_that_reads_the_same_for_every_sample_stays_as_it_is():
    model, batches = Named().eval(), [((x, x + 1), classes)]
    small = isoprune.prune(model, (x, other), {"m.2": 0.5})
    repaired = isoprune.repair(small, "reconstruct", batches=batches)
    torch.testing.assert_close(repaired.model.m[0].weight, small.model.m[0].weight)
    assert all(p.abs().max() < 10 for p in repaired.model.parameters())
