"""Networks that are trained to be quantised: what rounds in steps passes channels on, steps and all."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.ao import quantization

from isoprune.types import IsopruneError
from isoprune.verbs import prune
from pruning.module_oracle import unequal

G = torch.Generator().manual_seed(0)
X = torch.randn(4, 3, 10, 10, generator=G)
INTEGERS = torch.arange(-6, 6, dtype=torch.int32)


def of_channels(x, steps, zeros):
    return torch.fake_quantize_per_channel_affine(x, steps, zeros, 1, -128, 127)


def of_the_last_axis(x, steps, zeros):
    x = torch.fake_quantize_per_channel_affine(x.movedim(1, -1), steps, zeros, 3, -128, 127)
    return x.movedim(-1, 1)


def learnt(x, steps, zeros):
    return torch._fake_quantize_learnable_per_channel_affine(x, steps, zeros, 1, -128, 127, 1.0)


def of_the_tensor(x, steps, zeros):
    return torch.fake_quantize_per_tensor_affine(x, steps, zeros, -128, 127)


class Rounded(nn.Module):
    def __init__(self, rounding, zeros):
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b, self.c = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 8, 3), nn.Linear(8, 4)
        steps = 0.01 + torch.rand(zeros.shape) / 50
        if rounding is learnt:
            self.steps, self.zeros = nn.Parameter(steps), nn.Parameter(zeros.clone())
        else:
            self.register_buffer("steps", steps)
            self.register_buffer("zeros", zeros.clone())
        self.rounding = rounding

    def forward(self, x):
        x = self.rounding(self.a(x), self.steps, self.zeros)
        return self.c(self.b(x.relu()).mean((2, 3)))


def kept(pruned, bias):
    """Return which entries of a dense bias are in the small one."""
    return torch.isin(pruned.dense.get_parameter(bias), pruned.model.get_parameter(bias))


@pytest.mark.parametrize(
    ("rounding", "zeros"),
    [
        (of_channels, INTEGERS),
        (of_channels, INTEGERS.float()),
        (of_the_last_axis, INTEGERS),
        (learnt, INTEGERS.float()),
        (of_the_tensor, torch.tensor(3, dtype=torch.int32)),
    ],
)
def test_steps_and_zero_points_of_channels_go_with_them(rounding, zeros):
    model = Rounded(rounding, zeros).eval()
    pruned = prune(model, X, 0.5)
    stays = kept(pruned, "a.bias")
    assert pruned.model.a.out_channels == int(stays.sum()) == 6
    for name in ("steps", "zeros"):
        own, whole = getattr(pruned.model, name), getattr(model, name)
        assert torch.equal(own, whole[stays] if zeros.dim() else whole)
    masked = Rounded(rounding, zeros).eval()
    with torch.no_grad():
        masked.b.weight[:, ~stays] = 0
        masked.c.weight[:, ~kept(pruned, "b.bias")] = 0
    assert unequal(masked, pruned.model, (X,)) is None


def prepared(observes):
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 4),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao.quantization is deprecated; networks still hold it
        model.qconfig = quantization.get_default_qat_qconfig("fbgemm")
        model = quantization.prepare_qat(model.train())
        model(X)
    return (model if observes else model.apply(quantization.disable_observer)).eval()


def test_a_network_prepared_by_torch_loses_channels_once_its_ranges_are_known():
    model = prepared(observes=False)
    pruned = prune(model, X, 0.5)
    conv = pruned.model[0]
    assert conv.weight.shape == (6, 3, 3, 3)
    assert conv.weight_fake_quant.scale.shape == conv.weight_fake_quant.zero_point.shape == (6,)
    assert torch.isfinite(pruned.model.train()(X)).all()


def test_while_ranges_are_observed_nothing_goes_and_it_is_said_how_to_end_that():
    with pytest.raises(IsopruneError, match=r"follows the ranges of its channels \(torch\.ao\.quantiz"):
        prune(prepared(observes=True), X, 0.5)
