"""Whole residual blocks go: what is left computes what the dense network does with their branches at zero."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import isoprune
from isoprune.pruning import NothingRemoved, WrongNetwork
from isoprune.pruning.residual_blocks import residual_blocks
from isoprune.types import IsopruneError

X = torch.randn(3, 6, 9, 9, generator=torch.Generator().manual_seed(0))


class Basic(nn.Module):
    """A block of a ResNet; its input is never negative."""

    def __init__(self, c):
        super().__init__()
        self.a, self.b, self.norm = (
            nn.Conv2d(c, c, 3, padding=1),
            nn.Conv2d(c, c, 3, padding=1),
            nn.BatchNorm2d(c),
        )

    def forward(self, x):
        out = self.norm(self.b(self.a(x).relu()))
        out += x
        return out.relu_()


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(6, 8, 3)
        self.blocks = nn.Sequential(*(Basic(8) for _ in range(4)))
        self.plain = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1))  # adds nothing
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.plain(self.blocks(self.stem(x).relu())).mean((2, 3)))


class Layer(nn.Module):
    """A layer before which a norm stands; the first of a stack makes a table that the others read."""

    def __init__(self, layer_idx, shares):
        super().__init__()
        self.layer_idx = layer_idx
        self.norm, self.a, self.b = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.table = nn.Linear(8, 8) if shares and layer_idx == 0 else None

    def forward(self, x, shared):
        if self.table is not None:
            shared = self.table(x)
        return x + self.b(self.a(self.norm(x) + shared).relu()), shared


class Stack(nn.Module):
    def __init__(self, shares=False):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(Layer(i, shares) for i in range(4))
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        shared = None if self.layers[0].table is not None else torch.zeros(8)
        for layer in self.layers:
            x, shared = layer(x, shared)
        return self.out(x)


class Dropping(nn.Module):
    """A block that leaves its branch out for some samples while it is trained, and drops some of it."""

    def __init__(self, always):
        super().__init__()
        self.a, self.b, self.always = nn.Linear(8, 16), nn.Linear(16, 8), always

    def forward(self, x):
        y = self.b(nn.functional.dropout(self.a(x).relu(), 0.3, self.training or self.always))
        return x + y * (torch.rand(len(x), 1) > 0.4) if self.training else x + y


@pytest.mark.parametrize("always", [False, True])
def test_blocks_that_draw_are_proven_under_the_draws_of_those_that_stay(always):
    torch.manual_seed(0)
    body = nn.Sequential(*(Dropping(always) for _ in range(6)))
    model = nn.Sequential(nn.Linear(4, 8), body, nn.Linear(8, 3)).eval()
    small = isoprune.prune(model, torch.randn(5, 4), 0.5, grain="residual_block")
    assert small.costs.units == (("1", 6, 3),)
    assert small.proof.relative_error < 1e-12
    assert any("train mode" in trial for trial in small.proof.trials)
    small.model[1][0].always = not always
    with pytest.raises(WrongNetwork):
        isoprune.verify(small)


def gone_branches(model, name, gone, last):
    """Return the dense network of which the last layers of what blocks add are zero: the oracle."""
    dense = copy.deepcopy(model)
    with torch.no_grad():
        for i in gone:
            for p in getattr(dense.get_submodule(name)[i], last).parameters():
                p.zero_()
    return dense.eval()


@pytest.mark.parametrize(
    ("make", "x", "name", "last"),
    [(Residual, X, "blocks", "norm"), (Stack, torch.randn(2, 5, 8), "layers", "b")],
)
@pytest.mark.parametrize("ratio", [0.25, 0.5])
def test_what_is_left_computes_what_the_dense_network_does_with_branches_at_zero(make, x, name, last, ratio):
    model = make().eval()
    before = copy.deepcopy(model.state_dict())
    small = isoprune.prune(model, x, ratio, grain="residual_block")
    gone = small.plan.removed[name]
    assert len(gone) == 4 * ratio
    assert len(small.model.get_submodule(name)) == 4 - len(gone)
    assert type(small.model) is make
    torch.testing.assert_close(small.model(x), gone_branches(model, name, gone, last)(x))
    assert small.proof.relative_error < 1e-12
    assert any("drawn inputs" in trial for trial in small.proof.trials)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    counted = sum(p.numel() for p in small.model.parameters())
    assert small.costs.pruned.parameters == counted < small.costs.dense.parameters
    assert small.costs.ratios["flops"] > 0.1


def test_the_blocks_with_the_lowest_scores_go():
    model = Stack().eval()
    with torch.no_grad():
        for p in model.layers[2].parameters():
            p.mul_(0.01)
    small = isoprune.prune(model, torch.randn(2, 5, 8), 0.25, grain="residual_block")
    assert small.plan.removed == {"layers": (2,)}
    assert [layer.layer_idx for layer in small.model.layers] == [0, 1, 2]


def test_a_block_that_others_need_is_none_and_neither_is_what_adds_nothing():
    shared = Stack(shares=True).eval()
    assert residual_blocks(shared, torch.randn(2, 5, 8)) == {"layers": [1, 2, 3]}
    assert residual_blocks(Residual().eval(), X) == {"blocks": [0, 1, 2, 3]}
    plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(NothingRemoved, match=r"found were none.*adds to what it is given"):
        isoprune.prune(plain, torch.randn(2, 4), 0.5, grain="residual_block")


def test_rounds_training_saving_and_repair_go_on(tmp_path):
    model = Residual().eval()
    once = isoprune.prune(model, X, 0.25, grain="residual_block")
    small = isoprune.prune(once, ratio=0.34, grain="residual_block")
    gone = small.plan.removed["blocks"]
    assert len(gone) == 3
    assert set(once.plan.removed["blocks"]) < set(gone)
    torch.testing.assert_close(small.model(X), gone_branches(model, "blocks", gone, "norm")(X))
    with torch.no_grad():
        for p in small.model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    assert isoprune.verify(small).relative_error < 1e-12
    isoprune.save(small, tmp_path / "small")
    again = isoprune.load(tmp_path / "small", build=Residual)
    torch.testing.assert_close(again(X), small.model(X), rtol=0, atol=0)
    with pytest.raises(IsopruneError, match=r"another make than the Stack.*there is no such list"):
        isoprune.load(tmp_path / "small", build=Stack)
    near = isoprune.repair(small, "polish", batches=[(X, torch.zeros(3))], train_samples=64, lr=1e-3)
    assert near.plan == small.plan
    with pytest.raises(IsopruneError, match=r"whole blocks went. Take 'polish'"):
        isoprune.repair(small, "auto", batches=[(X, torch.zeros(3))])
    back = isoprune.rewind(small, model)
    torch.testing.assert_close(back.model(X), gone_branches(model, "blocks", gone, "norm")(X))


def test_a_network_that_is_not_what_the_plan_leaves_is_refused():
    small = isoprune.prune(Stack().eval(), torch.randn(2, 5, 8), 0.5, grain="residual_block")
    swapped = copy.deepcopy(small.model)
    swapped.layers = nn.ModuleList(reversed(list(swapped.layers)))
    small.model.layers = swapped.layers[:1].extend(small.model.layers[1:])
    small.model.layers[0].norm.eps = 1.0
    with pytest.raises(WrongNetwork):
        isoprune.verify(small)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"mask": True}, "takes no mask="), ({"retrain_budget": 0, "batches": [(X,)]}, "no retrain_budget=")],
)
def test_options_that_mean_nothing_for_blocks_are_refused(options, message):
    with pytest.raises(IsopruneError, match=message):
        isoprune.prune(Residual().eval(), X, 0.5, grain="residual_block", **options)


def test_channels_went_before():
    small = isoprune.prune(Residual().eval(), X, 0.5)
    with pytest.raises(IsopruneError, match="does not go on from masks or from a plan of another grain"):
        isoprune.prune(small, ratio=0.5, grain="residual_block")
    both = isoprune.prune(small.model, X, 0.5, grain="residual_block")
    assert len(both.model.blocks) == 2


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("name", "lists"),
    [
        ("vit_tiny_patch16_224", {"blocks": 12}),
        ("swin_tiny_patch4_window7_224", {f"layers.{i}.blocks": n for i, n in enumerate((2, 2, 6, 2))}),
        ("efficientnet_b0", {"blocks.3": 3, "blocks.4": 3, "blocks.5": 4}),
    ],
)
def test_networks_of_timm_lose_a_third_of_their_blocks_and_train_on(name, lists):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    options = {} if name.startswith("eff") else {"img_size": 64}
    options |= {"window_size": 2} if name.startswith("swin") else {}
    model, x = timm.create_model(name, num_classes=5, **options).eval(), torch.randn(2, 3, 64, 64)
    small = isoprune.prune(model, x, 0.34, grain="residual_block")
    assert {n: size for n, size, gone in small.costs.units if gone} == lists
    assert small.proof.relative_error < 1e-9
    small.model.train()(x).square().mean().backward()
    assert any(p.grad is not None and p.grad.any() for p in small.model.parameters())


@pytest.mark.matrix
def test_blocks_that_hand_on_all_that_they_were_given_are_none():
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.densenet121(num_classes=5).eval()
    with pytest.raises(NothingRemoved, match=r"of DenseNet went: found were none.*channels instead"):
        isoprune.prune(model, torch.randn(1, 3, 64, 64), 0.5, grain="residual_block")
