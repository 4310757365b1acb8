"""Attention taken apart computes what torch's does, and is whole again afterwards."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from isoprune.methods.layers.attention import projections, taken_apart
from isoprune.methods.layers.weights import weights
from methods.repairs.repair_networks import inputs, seeded

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
SAME, OTHER, BARE = {}, {"kdim": 4, "vdim": 5}, {"bias": False}
FURTHER = {"add_bias_kv": True, "add_zero_attn": True}


def attention(**options):
    """Return an attention of width 6 with two heads; its biases, which torch starts at zero, are drawn."""

    def build():
        net = nn.MultiheadAttention(6, 2, dropout=0.3, **options)
        for name, p in net.named_parameters():
            if "bias" in name:
                p.data = torch.randn_like(p)
        return net

    return seeded(build)


def asked(net, *, first):
    """Return queries, keys and values for it: three of one length, or two of another where widths differ."""
    if net._qkv_same_embed_dim:
        return (inputs(*((3, 5) if first else (5, 3)), 6),) * 3
    sizes = ((3, 5, 6), (3, 7, net.kdim), (3, 7, net.vdim))
    return tuple(
        inputs(*size, seed=i) if first else inputs(*size, seed=i).transpose(0, 1)
        for i, size in enumerate(sizes)
    )


def masks(keys):
    square = torch.rand(5, keys, generator=torch.Generator().manual_seed(2)) < 0.3
    square[:, 0] = False  # a position that may look at nothing is no number in torch either
    padded = torch.arange(keys) >= torch.tensor([keys, keys - 1, keys - 2])[:, None]
    each = inputs(6, 5, keys)  # a float mask for every sample and head
    return [
        {},
        {"attn_mask": square},
        {"attn_mask": square, "key_padding_mask": padded},
        {"attn_mask": each, "need_weights": False},
        {"key_padding_mask": padded, "average_attn_weights": False},
        {"need_weights": False},
    ]


def causal(keys):
    ahead = nn.Transformer.generate_square_subsequent_mask(keys, dtype=torch.float64)
    return {"attn_mask": ahead, "is_causal": True, "need_weights": False}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("options", [SAME, OTHER, BARE, FURTHER], ids=str)
def test_numbers_are_those_of_torch(options, first):
    net = attention(batch_first=first, **options)
    given = asked(net, first=first)
    keys = given[1].shape[1 if first else 0]
    calls = masks(keys) + ([causal(keys)] if keys == 5 and options is not FURTHER else [])
    for call in calls:
        with torch.no_grad():
            want = net(*given, **call)
            with taken_apart(net):
                got = net(*given, **call)
        torch.testing.assert_close(got, want, **CLOSE)


@pytest.mark.parametrize("first", [True, False])
def test_numbers_without_a_batch_are_those_of_torch(first):
    net, x = attention(batch_first=first), inputs(5, 6)
    with torch.no_grad():
        want = net(x, x, x)
        with taken_apart(net):
            torch.testing.assert_close(net(x, x, x), want, **CLOSE)


@pytest.mark.parametrize(("first", "norm_first"), list(itertools.product([True, False], repeat=2)))
def test_a_transformer_layer_runs_through_its_projections(first, norm_first):
    """In eval mode and without gradients torch runs all of the layer in one kernel."""
    net = seeded(lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=first, norm_first=norm_first))
    x, ran = inputs(3, 5, 6), []
    with torch.no_grad():
        want = net(x)
        with taken_apart(net) as parts:
            for name, part in parts.items():
                part.projection.register_forward_hook(lambda *_, name=name: ran.append(name))
            torch.testing.assert_close(net(x), want, **CLOSE)
    assert ran == [f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")]


@pytest.mark.parametrize("options", [SAME, OTHER, BARE], ids=str)
def test_what_is_written_into_a_projection_is_in_the_network(options):
    net = attention(batch_first=True, **options)
    given = asked(net, first=True)
    keys = list(net.state_dict())
    with torch.no_grad(), taken_apart(net) as parts:
        for i, weight in enumerate(projections(weights(net), parts)):
            weight.write_(weight.matrices + i + 1)
            if weight.module.bias is not None:
                weight.module.bias.add_(10 * (i + 1))
        inside = net(*given)
    drawn = attention(batch_first=True, **options)
    with torch.no_grad():
        torch.testing.assert_close(net(*given), inside, **CLOSE)
        torch.testing.assert_close(net.out_proj.weight, drawn.out_proj.weight + 4)
        if options is OTHER:
            for i, key in enumerate("qkv"):
                key = f"{key}_proj_weight"
                torch.testing.assert_close(getattr(net, key), getattr(drawn, key) + i + 1)
        else:
            rises = torch.tensor([1.0, 2, 3]).double().repeat_interleave(6)
            torch.testing.assert_close(net.in_proj_weight, drawn.in_proj_weight + rises[:, None])
        if options is not BARE:
            rises = torch.tensor([10.0, 20, 30]).double().repeat_interleave(6)
            torch.testing.assert_close(net.in_proj_bias, drawn.in_proj_bias + rises)
            torch.testing.assert_close(net.out_proj.bias, drawn.out_proj.bias + 40)
    assert list(net.state_dict()) == keys


@pytest.mark.parametrize("key", ["in_proj_weight", "out_proj.weight"])
def test_masks_hold_inside_and_after(key):
    net = attention(batch_first=True)
    owner, name = (net.out_proj, "weight") if "." in key else (net, key)
    prune.l1_unstructured(owner, name, 0.5)
    mask = getattr(owner, f"{name}_mask").bool()
    x = inputs(3, 5, 6)
    with torch.no_grad(), taken_apart(net) as parts:
        for weight in projections(weights(net), parts):
            weight.write_(weight.matrices + 1)
        inside = net(x, x, x)[0]
    with torch.no_grad():
        torch.testing.assert_close(net(x, x, x)[0], inside, **CLOSE)
    held = getattr(attention(batch_first=True).get_submodule(key.rpartition(".")[0]), name)
    torch.testing.assert_close(getattr(owner, name), torch.where(mask, held + 1, 0.0))


def test_nothing_is_left_also_after_an_error():
    net = nn.Sequential(nn.Linear(6, 6).double(), attention())
    before, fast = copy.deepcopy(vars(net[1])), torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), taken_apart(net):
        net(inputs(2, 5))
    assert vars(net[1]).keys() == before.keys()
    assert net[1].forward.__func__ is nn.MultiheadAttention.forward
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_a_forward_of_its_own_is_left_alone():
    class Own(nn.MultiheadAttention):
        def forward(self, x):
            return 2 * super().forward(x, x, x)[0]

    by_instance = attention()
    by_instance.forward = lambda *_: 3
    with taken_apart(nn.ModuleList([Own(6, 2), by_instance, attention()])) as parts:
        assert {name.split(".")[0] for name in parts} == {"2"}
