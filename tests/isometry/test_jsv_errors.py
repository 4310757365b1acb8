"""What cannot be measured is refused in one line that says what to do."""

from __future__ import annotations

import pytest
import torch
from isometry_networks import Language, make
from torch import nn
from torch.nn import functional as F

from isoprune.isometry import jacobian_singular_values
from isoprune.types import IsopruneError


class Via(nn.Module):
    """A network made of one function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


def refused(model, inputs, match, **options):
    with pytest.raises(IsopruneError, match=match) as caught:
        jacobian_singular_values(model, inputs, **options)
    assert "\n" not in str(caught.value)


def test_in_train_mode_it_is_measured_in_eval_mode_and_stays_as_it_is():
    model, x = make("residual")
    want = jacobian_singular_values(model, x)
    model.eval()[4].bn1.train()
    modes = [module.training for module in model.modules()]
    statistics = model[4].bn1.running_mean.clone()
    assert torch.equal(jacobian_singular_values(model, x), want)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(model[4].bn1.running_mean, statistics)


def test_frozen_inputs_and_inputs_of_a_graph_are_fine():
    model, x = make("mlp")
    want = jacobian_singular_values(model, x)
    assert torch.equal(jacobian_singular_values(model, x.clone().requires_grad_(False)), want)
    attached = x.clone().requires_grad_() * 1
    assert torch.equal(jacobian_singular_values(model, attached), want)


def test_integers_name_the_remedy():
    model = Language().eval()
    words = torch.randint(11, (2, 4))
    refused(model, words, r"of torch.int64, which has no derivative.*input='embed'", output="logits")
    refused(model, {"words": words}, r"input='embed'", input="words", output="logits")
    refused(model, words, r"neither a key of the inputs nor a submodule. Did you mean 'embed'", input="embd")


def test_pick_that_is_not_there_or_not_floats():
    model = Language().eval()
    words = torch.randint(11, (2, 4))
    refused(
        model,
        words,
        r"is a dict with logits, words, not a tensor of floats. Pick one with output=",
        input="embed",
    )
    refused(model, words, r"is of torch.int64, not a tensor", input="embed", output="words")
    refused(
        model,
        words,
        r"output='loss' names a part of the output, .* with logits, words",
        input="embed",
        output="loss",
    )
    refused(model, (words,), r"input=3 is no tensor of the inputs", input=3)
    two = Via(lambda a, b: a + b).eval()
    refused(two, (torch.randn(2, 3), torch.randn(2, 3)), r"2 floating tensors. Say which.*input=")
    shared = nn.Sequential(nn.Linear(3, 3))
    shared.append(shared[0])
    refused(shared.eval(), torch.randn(2, 3), r"input='0': the module runs 2 times", input="0")


def test_outputs_that_do_not_depend_on_the_input():
    layer = nn.Linear(3, 2)
    refused(Via(lambda x: layer(x.detach())).eval(), torch.randn(2, 3), r"do not depend on the input")
    refused(Via(torch.no_grad()(lambda x: 2 * x)).eval(), torch.randn(2, 3), r"under torch.no_grad")


def test_outputs_without_samples():
    refused(Via(lambda x: x.sum()).eval(), torch.randn(2, 3), r"shape \(\) for 1 samples")
    refused(Via(lambda x: x.sum(0)).eval(), torch.randn(2, 3), r"shape \(3,\) for 1 samples.*output=")
    refused(Via(lambda x: x).eval(), torch.randn(0, 3), r"hold no sample")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity(bad):
    model, x = make("mlp")
    model[1].weight.data[0, 0] = bad
    refused(model, x, r"outputs hold NaN or infinity.*diverged")
    # The value at 0 is finite, the slope is not.
    refused(Via(lambda x: x.sqrt()).eval(), torch.zeros(2, 3), r"Jacobian holds NaN or infinity")


def test_forward_that_is_not_deterministic():
    refused(Via(lambda x: F.dropout(x, 0.1)).eval(), torch.randn(4, 50), r"not deterministic.*F.dropout")


def test_samples_that_influence_each_other():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False)).eval()
    refused(model, torch.randn(6, 3), r"Samples influence.*'1' normalises by the batch's own statistics")
    refused(Via(lambda x: x - x.mean(0)).eval(), torch.randn(6, 3), r"Samples influence.*the first one alone")


def test_bound_that_one_sample_does_not_fit_into():
    model, x = make("mlp")
    refused(model, x, r"memory = 10\. Raise memory.*output=.*estimate", memory=10)


def test_type_that_jacobians_are_not_computed_in():
    model, x = make("mlp")
    refused(model, x, r"dtype is torch.float16; Jacobians are computed in torch.float32", dtype=torch.float16)
