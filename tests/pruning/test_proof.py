"""The proof is on every output's own scale, on inputs and weights that hide nothing, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isoprune.graph import trace
from isoprune.pruning import NothingRemoved, WrongNetwork, make_plan, shrink, verify
from isoprune.pruning.discrepancy import NotFinite, discrepancy
from isoprune.verbs import prune


class Outputs(nn.Module):
    """Two heads, and what is made of them."""

    def __init__(self, made):
        super().__init__()
        self.up, self.box, self.score, self.made = nn.Linear(8, 32), nn.Linear(32, 4), nn.Linear(32, 3), made

    def forward(self, x):
        h = F.relu(self.up(x))
        return self.made(self.box(h), self.score(h))


MASK = torch.tensor([False, True, False])
# What one tolerance over all outputs, or the largest element of a tensor, would hide.
HIDING = {
    "pixels beside small scores": lambda box, score: (box * 640, score.sigmoid() * 0.01),
    "a masked logit": lambda box, score: (box, score.masked_fill(MASK, -1e9)),
    "an infinite logit": lambda _, score: score.masked_fill(MASK, -torch.inf),
    "one tensor of two scales": lambda box, score: torch.cat([box * 1e8, score * 1e-4], 1),
    "an outlier": lambda _, score: score * torch.tensor([1e12, 1.0, 1.0], dtype=score.dtype),
    "bools beside floats": lambda box, score: (box * 1e6, score > 0),
    "half precision": lambda box, score: (box, score.bfloat16()),
}


def built(kind, *args, dtype=torch.float32):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(*args).to(dtype).eval(), torch.randn(4, 8).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", HIDING)
def test_an_error_of_a_hundredth_in_one_output_is_not_hidden_by_others(name, dtype):
    model, x = built(Outputs, HIDING[name], dtype=dtype)
    result = prune(model, x, 0.5)
    assert result.proof.relative_error < 1e-9
    with torch.no_grad():
        result.model.score.weight[2] *= 1.05 if name != "bools beside floats" else -1
    with pytest.raises(WrongNetwork, match=r"differs from the dense one by .* in output"):
        verify(model, result.model, result.graph, result.plan, x)


def test_a_wrong_scale_beside_a_mask_is_put_back():
    """A norm scaled by the width it finds: the dense network's factor is not the small one's."""

    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.g, self.b = nn.Linear(8, 16), nn.Parameter(torch.ones(16)), nn.Linear(16, 4)

        def forward(self, x):
            y = self.a(x)
            y = F.normalize(y, dim=-1) * y.shape[-1] ** 0.5 * self.g
            return self.b(y).masked_fill(torch.tensor([False, False, True, False]), -1e9)

    with pytest.raises(NothingRemoved, match=r"a could not be proven|a number in it changed"):
        prune(*built(Normed), 0.5)


class Strided(nn.Module):
    """Every second channel is read, by a slice that the numbers of channels do not follow."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 16, 3, bias=False), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, x):
        return self.c(self.b(self.a(x).relu()[:, ::2]).relu().mean((2, 3)))


def zeros(*size):
    return torch.zeros(size)


@pytest.mark.parametrize("make", [zeros, torch.ones, lambda *size: torch.full(size, -0.5)])
def test_a_constant_example_proves_as_much_as_a_drawn_one(make):
    model, _ = built(Strided)
    graph = trace(model, make(1, 3, 8, 8))
    scores = {g.name: torch.arange(g.size).double() for g in graph.groups}
    small = shrink(model, graph, make_plan(graph, scores, ratio=0.5))
    plan = make_plan(graph, {name: -s for name, s in scores.items()}, ratio=0.5)  # of other channels
    with pytest.raises(WrongNetwork, match=r"on drawn inputs \(batch 2, images 12 x 12\) and weights"):
        verify(model, small, graph, plan, make(1, 3, 8, 8))
    result = prune(model, make(1, 3, 8, 8), 0.5)
    x = torch.randn(2, 3, 9, 9)
    assert result.model(x).shape == (2, 5)


@pytest.mark.parametrize("hide", ["gain", "bias", "head"])
def test_what_an_initialisation_hides_is_compared(hide):
    """A gain of zero, biases of zero: wrong channels behind them change no output until they are trained."""

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.n, self.b, self.head = (
                nn.Linear(8, 12),
                nn.BatchNorm1d(12),
                nn.Linear(12, 8),
                nn.Linear(8, 5),
            )

        def forward(self, x):
            return self.head(x + self.b(self.n(self.a(x)).relu()))

    model, x = built(Gated)
    with torch.no_grad():
        {"gain": model.n.weight, "bias": model.n.bias, "head": model.b.weight}[hide].zero_()
    result = prune(model, x, 0.5)
    kept = [i for i in range(12) if i not in result.plan.removed["a"]]
    with torch.no_grad():
        if hide == "gain":
            result.model.n.running_mean[:] = result.model.n.running_mean.flip(0)
            result.model.a.weight[:] = model.a.weight[kept].flip(0)
        elif hide == "bias":
            result.model.n.bias[0] = 0.1
        else:
            result.model.a.bias[:] = model.a.bias[kept].flip(0)
    with pytest.raises(WrongNetwork):
        verify(model, result.model, result.graph, result.plan, x)


def test_trials_are_named_and_what_a_network_refuses_is_left_out():
    class Fixed(nn.Sequential):
        def forward(self, x):
            if len(x) != 4:
                raise ValueError("four samples only")
            return super().forward(x)

    model, x = built(lambda: nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)))
    assert prune(model, x, 0.5).proof.trials == (
        "the example inputs in float64",
        "drawn inputs (batch 2) and weights in float64",
    )
    fixed = Fixed(*model)
    assert prune(fixed, x, 0.5).proof.trials[1] == "drawn inputs and weights in float64"


def test_whole_numbers_are_drawn_among_those_seen():
    model, _ = built(lambda: nn.Sequential(nn.Embedding(7, 8), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)))
    result = prune(model, torch.tensor([[1, 6, 0], [2, 3, 3]]), 0.5)
    assert result.proof.trials[1] == "drawn inputs (batch 3) and weights in float64"


def test_a_network_that_runs_in_its_own_type_only_is_proven_in_it():
    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 12), nn.Linear(12, 3)

        def forward(self, x):
            if x.dtype != torch.float32:
                raise TypeError("float32 only")
            return self.b(self.a(x).relu())

    model, x = built(Single)
    result = prune(model, x, 0.5)
    assert result.proof.trials == ("the example inputs", "drawn inputs (batch 2) and weights")
    assert result.proof.relative_error < 1e-5


def test_digits_that_a_forward_drops_are_kept_in_the_proof():
    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 12), nn.Linear(12, 3)

        def forward(self, x):
            h = F.softmax(self.a(x), -1, dtype=torch.float32).to(x.dtype)
            return self.b(h.half().to(x.dtype) + torch.linspace(0, 1, 1)).float()

    model, x = built(Dropping)
    assert prune(model, x, 0.5).proof.relative_error < 1e-10


def test_infinities_and_a_few_nan_must_stand_at_the_same_places():
    a = torch.tensor([1.0, -torch.inf, torch.nan, 2.0, 3.0])
    assert discrepancy(a, a.clone()).error == 0
    for b in (a.nan_to_num(), a.flip(0), torch.ones(5)):
        assert discrepancy(a, b).error == torch.inf
    for a in (torch.full((3,), torch.nan), torch.full((3,), -torch.inf)):
        with pytest.raises(NotFinite, match="like the data it was trained on"):
            discrepancy(a, a)


def test_each_element_has_a_scale_of_its_own():
    a = torch.cat([torch.ones(99), torch.tensor([1e9])])
    b = a.clone()
    b[5] += 1e-3
    assert discrepancy(a, b).relative == pytest.approx(1e-3, rel=1e-3)
    b = a.clone()
    b[99] *= 1 + 1e-3
    assert discrepancy(a, b).relative == pytest.approx(1e-3, rel=1e-3)


def test_outputs_of_another_shape_or_structure_are_wrong():
    with pytest.raises(WrongNetwork, match=r"output\[0\] is \(3,\), where the dense one's is \(2,\)"):
        discrepancy([torch.ones(2)], [torch.ones(3)])
    with pytest.raises(WrongNetwork, match=r"output\['b'\] is in one only"):
        discrepancy({"a": torch.ones(2)}, {"b": torch.ones(2), "a": torch.ones(2)})
