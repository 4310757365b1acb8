"""Real networks at ratio 0.5, no hints: proven, whole classifier, untouched input, trainable, FLOPs down."""

from __future__ import annotations

import warnings

import pytest
import torch

from isoprune.pruning import prune
from pruning.zoo import MATRIX, QUICK, made, output

# Where less than the goal can go, and why.
BELOW_GOAL = dict.fromkeys(
    ("shufflenet_v2_x1_0", "shufflenet_v2_x0_5"),
    (2.7, "eight channel shuffles in a row bind the stream of stage 3 (232 channels) into one"),
)


def check(entry):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the networks' own code
        model, x = made(entry), entry.inputs()
        before = {k: v.clone() for k, v in model.state_dict().items()}
        with torch.no_grad():
            dense = output(model, x)
        result = prune(model, x, 0.5)
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
        assert result.verification.relative_error < 1e-4
        assert type(result.model) is type(model)
        with torch.no_grad():
            small = output(result.model, x)
        assert small.shape == dense.shape
        assert (small - dense).abs().max() > 1e-3 * dense.abs().max()  # what went had mattered
        learns(result.model, x)
        goal, _ = BELOW_GOAL.get(entry.name, (1.8 if entry.attention else 3.0, ""))
        assert 1 / (1 - result.realised["flops"]) >= goal


def learns(model, x):
    """One small step of SGD lowers the loss on the batch."""
    for p in model.parameters():
        p.requires_grad_(True)
    target = torch.zeros(output(model, x).shape[:-1], dtype=torch.long).flatten()

    def loss():
        return torch.nn.functional.cross_entropy(output(model, x).flatten(0, -2), target)

    first = loss()
    first.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    square = sum(float(g.double().square().sum()) for g in gradients)
    assert square > 0
    with torch.no_grad():  # a step so small that the loss falls as its linear approximation does
        for p in model.parameters():
            if p.grad is not None:
                p -= (0.01 * float(first) / square) * p.grad
        assert loss() < first


@pytest.mark.parametrize("entry", QUICK, ids=lambda e: e.name)
def test_a_real_network_loses_half_of_its_channels(entry):
    check(entry)


@pytest.mark.matrix
@pytest.mark.parametrize("entry", MATRIX, ids=lambda e: e.name)
def test_matrix(entry):
    check(entry)
