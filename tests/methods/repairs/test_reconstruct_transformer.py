"""Reconstruction of networks with attention: factors of heads, what stays as it is, a whole transformer."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from attention_networks import HEADS, WIDTH, Attends, by_order, drawn, repaired
from repair_networks import inputs, seeded
from torch import nn
from torch.nn import functional as F

import isoprune
from isoprune.types import Plan


class Scaled(nn.Module):
    """Attention written out, its scores divided by the root of whatever width its heads have."""

    def __init__(self, normed):
        super().__init__()
        self.k, self.v = nn.Linear(4, WIDTH), nn.Linear(4, WIDTH)
        self.q, self.norm = nn.Conv1d(4, WIDTH, 1), nn.BatchNorm1d(WIDTH) if normed else nn.Identity()
        self.out = nn.Linear(WIDTH, 2)

    def forward(self, x):
        q, k, v = self.norm(self.q(x.mT)).mT, self.k(x), self.v(x)
        q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in (q, k, v))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("normed", [True, False])
def test_factors_that_pruning_put_on_queries_stay(normed):
    """Channels that no score needs: the pruned network computes the same, its queries scaled."""
    x = inputs(80, 6, 4)
    dense = drawn(lambda: Scaled(normed))
    plan = by_order(dense, x).plan
    for name, channels in plan.removed.items():
        layer = dense.v if name == "v" else dense.k
        layer.weight.data[list(channels)], layer.bias.data[list(channels)] = 0, 0
    result = by_order(dense, x)
    assert result.model.k.out_features == WIDTH // 2
    new = repaired(result.model, dense, x, result.plan)
    with torch.no_grad():
        torch.testing.assert_close(result.model(x), dense(x))
        torch.testing.assert_close(new(x), dense(x), rtol=1e-6, atol=1e-8)


def test_class_keys_flags_modes_and_hooks_are_those_of_the_pruned_network():
    x, calls = inputs(40, 6, 8), []
    dense = drawn(Attends)
    result = by_order(dense, x)
    pruned = result.model.train()
    pruned.attn.out_proj.eval()
    pruned.attn.in_proj_weight.requires_grad_(False)
    pruned.attn.register_forward_hook(lambda *_: calls.append("attention"))
    pruned.attn.out_proj.register_forward_hook(lambda *_: calls.append("projection"))
    before = {name: t.clone() for name, t in [*dense.state_dict().items()]}
    inside = [vars(m).keys() for m in dense.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    new = repaired(pruned, dense, x, result.plan)
    assert set(calls) == {"attention"}  # torch never runs the projection as a module
    assert [type(m) for m in new.modules()] == [type(m) for m in pruned.modules()]
    assert [vars(m).keys() for m in new.modules()] == [vars(m).keys() for m in pruned.modules()]
    assert [m.training for m in new.modules()] == [m.training for m in pruned.modules()]
    assert [len(m._forward_hooks) for m in new.modules()] == [len(m._forward_hooks) for m in pruned.modules()]
    assert list(new.state_dict()) == list(pruned.state_dict())
    assert [p.requires_grad for p in new.parameters()] == [p.requires_grad for p in pruned.parameters()]
    assert new.attn.in_proj_weight.data_ptr() != pruned.attn.in_proj_weight.data_ptr()
    assert [vars(m).keys() for m in dense.modules()] == inside
    assert not any(m._forward_hooks for m in dense.modules())
    assert all(torch.equal(t, before[name]) for name, t in dense.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_a_forward_of_its_own_stays_and_the_log_says_so(caplog):
    class Own(nn.MultiheadAttention):
        def forward(self, *given, **options):
            return super().forward(*given, **options)

    x = inputs(40, 6, 8)
    dense = drawn(Attends)
    dense.attn.__class__ = Own
    pruned = copy.deepcopy(dense)
    pruned.attn.in_proj_weight.data[0] = 0
    with caplog.at_level(logging.INFO, "isoprune.methods.repairs.reconstruct"):
        new = repaired(pruned, dense, x, Plan())
    assert "attn.in_proj_weight: stays as it is, since Own has a forward of its own" in caplog.messages
    assert torch.equal(new.attn.in_proj_weight, pruned.attn.in_proj_weight)


class Vit(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(1, 16, 2, stride=2)
        layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.encoder(self.patches(x).flatten(2).mT).mean(1))


@pytest.mark.matrix
def test_a_transformer_comes_nearer_on_images_it_never_saw(caplog):
    x, unseen = inputs(500, 1, 8, 8).split([400, 100])
    dense = seeded(Vit)
    result = isoprune.prune(dense, x[:2], 0.3)
    with caplog.at_level(logging.INFO, "isoprune.methods.repairs.reconstruct"):
        new = repaired(result.model, dense, x, result.plan)
    told = [message.split(":")[0].removeprefix("encoder.layers.") for message in caplog.messages]
    assert told[1:7] == [f"0.self_attn.{p}_proj" for p in "qkv"] + [
        "0.self_attn.out_proj", "0.linear1", "0.linear2"
    ]  # fmt: skip
    with torch.no_grad():
        want = dense(unseen)
        assert (new(unseen) - want).norm() < 0.7 * (result.model(unseen) - want).norm()
