"""criterion="zeros": exactly the channels that are zero go, whoever zeroed them, and the function stays."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune as masks

import isoprune
from isoprune.types import IsopruneError

x = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def network(norm=nn.Identity, activation=nn.ReLU):
    torch.manual_seed(1)
    parts = [nn.Conv2d(3, 16, 3), norm(16), activation(), nn.Conv2d(16, 12, 3), norm(12)]
    parts += [activation(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)]
    return nn.Sequential(*parts).eval()


@torch.no_grad()
def kill_(layer, channels):
    layer.weight[channels] = 0
    if layer.bias is not None:
        layer.bias[channels] = 0


def check(model, inputs, want):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    small = isoprune.prune(model, inputs, criterion="zeros")
    assert {name: set(gone) for name, gone in small.plan.removed.items()} == want
    args = inputs if isinstance(inputs, tuple) else (inputs,)
    with torch.no_grad():
        torch.testing.assert_close(small.model(*args), model(*args), rtol=1e-5, atol=1e-6)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    return small


@pytest.mark.parametrize("permanent", [False, True])
@pytest.mark.parametrize("share", [0.25, 0.5])
def test_filters_that_masks_of_torch_zeroed_go(permanent, share):
    model, want = network(), {}
    for at in (0, 3):
        masks.ln_structured(model[at], "weight", share, n=1, dim=0)
        dead = model[at].weight.flatten(1).abs().sum(1) == 0
        model[at].bias.data[dead] = 0
        want[str(at)] = set(dead.nonzero().flatten().tolist())
        if permanent:
            masks.remove(model[at], "weight")
    small = check(model, x, want)
    assert small.model[3].in_channels == 16 - len(want["0"])


def test_a_filter_of_zeros_with_a_bias_is_a_constant_and_stays():
    model = network()
    kill_(model[0], [1, 5])
    model[0].bias.data[5] = 0.3
    check(model, x, {"0": {1}})


def test_an_example_of_zeros_makes_nothing_dead():
    model = network()
    for part in (model[0], model[3]):
        nn.init.zeros_(part.bias)
    kill_(model[0], [2])
    check(model, torch.zeros_like(x), {"0": {2}})


def test_a_channel_that_is_negative_on_the_example_only_is_not_dead():
    model = network()
    model[0].bias.data[4] = -30.0
    kill_(model[0], [2])
    check(model, x, {"0": {2}})


@pytest.mark.parametrize(
    "activation", [nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Hardswish, nn.ReLU6, nn.LeakyReLU]
)
def test_activations_that_are_zero_at_zero_pass_it_on(activation):
    model = network(activation=activation)
    kill_(model[3], [0, 7])
    check(model, x, {"3": {0, 7}})


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.Softplus, nn.Hardsigmoid])
def test_behind_others_nothing_is_zero(activation):
    model = network(activation=activation)
    kill_(model[3], [0, 7])
    check(model, x, {})


def test_a_batchnorm_whose_gain_and_shift_are_zero_makes_dead_channels():
    model = network(nn.BatchNorm2d)
    with torch.no_grad():
        model[1].weight[:4] = 0
        model[1].bias[:3] = 0  # the fourth is a constant
        model[1].bias[3] = 0.2
    check(model, x, {"0": {0, 1, 2}})


def test_through_batchnorm_only_where_its_shift_undoes_its_mean():
    model = network(nn.BatchNorm2d)
    kill_(model[0], [0, 1])
    with torch.no_grad():
        model[1].running_mean[1] = 0.5
        model[1].bias[2:] = 0.1
    check(model, x, {"0": {0}})


def test_channels_that_no_reader_reads_go_too():
    model = network()
    with torch.no_grad():
        model[3].weight[:, 6] = 0
    check(model, x, {"0": {6}})


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.a, self.b = nn.Linear(6, 12), nn.Linear(12, 12)
        self.out = nn.Linear(12, 3)

    def forward(self, x):
        h = F.relu(self.a(x))
        return self.out(h + self.b(h))


def test_a_residual_channel_is_dead_only_if_all_that_make_it_are():
    model, rows = Residual().eval(), torch.randn(4, 6)
    kill_(model.a, [0, 1])
    kill_(model.b, [1, 2])
    check(model, rows, {"a": {1}})


class Normed(Residual):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(12)

    def forward(self, x):
        return self.out(self.norm(F.relu(self.a(x))))


def test_zeros_count_in_the_mean_of_a_layer_norm():
    model, rows = Normed().eval(), torch.randn(4, 6)
    kill_(model.a, [0, 1])
    check(model, rows, {})


class Cosine(Residual):
    def forward(self, x):
        return F.linear(F.relu(self.a(x)), F.normalize(self.out.weight, dim=1))


def test_what_a_norm_over_a_weight_counts_is_not_dead_unless_the_weight_is_zero_there():
    model, rows = Cosine(), torch.randn(4, 6)
    model.out.bias = None
    model.b = nn.Identity()
    kill_(model.a, [0, 1])
    with torch.no_grad():
        model.out.weight[:, 1] = 0
    check(model.eval(), rows, {"a": {1}})


class Heads(nn.Module):
    """Heads that must keep equally many channels."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0].mean(1)


def test_living_channels_stay_where_heads_must_balance():
    model, tokens = Heads().eval(), torch.randn(2, 5, 12)
    with torch.no_grad():
        for head, width in ((0, 0), (0, 1), (1, 2), (2, 3)):  # of the values: one in every head, two in one
            model.attention.in_proj_weight[24 + 4 * head + width] = 0
            model.attention.in_proj_bias[24 + 4 * head + width] = 0
    small = isoprune.prune(model, tokens, criterion="zeros")
    with torch.no_grad():
        torch.testing.assert_close(small.model(tokens), model(tokens), rtol=1e-5, atol=1e-6)


def test_a_table_of_embeddings_is_dead_where_all_its_rows_are_zero():
    torch.manual_seed(5)
    model, tokens = nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 3)).eval(), torch.arange(4)[None]
    with torch.no_grad():
        model[0].weight[:, 3] = 0
        model[0].weight[:4, 5] = 0  # of these tokens only
    check(model, tokens, {"0": {3}})


def test_nothing_dead_is_the_identity_and_a_dead_layer_keeps_a_channel():
    model = network()
    small = check(model, x, {})
    assert not small.plan
    kill_(model[3], list(range(12)))
    check(model, x, {"0": set(range(1, 16)), "3": set(range(1, 12))})


def test_a_further_round_finds_what_became_dead():
    model = network()
    kill_(model[0], [0])
    with torch.no_grad():
        model[3].weight[2, 1:] = 0  # reads the dead channel alone
        model[3].bias[2] = 0
    once = isoprune.prune(model, x, criterion="zeros")
    twice = isoprune.prune(once, criterion="zeros")
    assert twice.plan.removed == {"0": (0,), "3": (2,)}


@pytest.mark.parametrize("how", [{"ratio": 0.5}, {"flops": 0.5}, {"grain": "weight"}, {"mask": True}])
def test_zeros_say_themselves_how_much_goes(how):
    with pytest.raises(IsopruneError, match="exactly the channels that are zero: give no"):
        isoprune.prune(network(), x, criterion="zeros", **how)
