"""Exact Jacobian singular values against the slow way, closed forms and a second opinion."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from isometry_networks import NETWORKS, Language, make
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from isoprune.isometry import jacobian, jacobian_singular_values
from isoprune.isometry.exact import _LIVE, _chunk
from isoprune.isometry.memory import Footprint
from isoprune.isometry.products import pull_back
from isoprune.types import IsopruneError
from reference import jacobian_by_loops, jsv_by_loops

EXACT = {"rtol": 1e-10, "atol": 1e-12}


@pytest.mark.parametrize("name", NETWORKS)
def test_jsv_matches_one_backward_per_output_and_numpy(name):
    model, x = make(name)
    torch.testing.assert_close(jacobian_singular_values(model, x), jsv_by_loops(model, x), **EXACT)


@pytest.mark.parametrize("name", NETWORKS)
def test_jsv_matches_curvlinops_jacobian(name):
    # Theirs is the Jacobian in the parameters: the input becomes one, behind a constant.
    model, x = make(name, samples=1)

    class OfTheInput(nn.Module):
        def __init__(self):
            super().__init__()
            self.x = nn.Parameter(x.clone())

        def forward(self, one):
            return model(one * self.x)

    one = torch.ones(1, *[1] * (x.ndim - 1), dtype=torch.float64)
    for p in model.parameters():
        p.requires_grad_(False)
    net = OfTheInput()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they, and torch's forward mode, use the deprecated torch.jit
        import curvlinops

        J = curvlinops.JacobianLinearOperator(net, [net.x], [(one, one)], check_deterministic=False)
        with sdpa_kernel(SDPBackend.MATH):  # the others have no forward mode
            dense = J @ torch.eye(J.shape[1], dtype=torch.float64)
    torch.testing.assert_close(jacobian_singular_values(model, x)[0], torch.linalg.svdvals(dense), **EXACT)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("memory", [10**8, 11 * 10**6])
def test_jsv_is_equal_for_any_chunking(name, memory, monkeypatch):
    model, x = make(name, samples=5)
    want = jacobian_singular_values(model, x)
    torch.testing.assert_close(jacobian_singular_values(model, x, memory=memory), want, **EXACT)
    for chunk_bytes, rows in ((1, 1), (10**4, 7), (10**9, 1), (10**9, 3), (10**9, 1000)):
        monkeypatch.setattr("isoprune.isometry.exact._CHUNK_BYTES", chunk_bytes)
        monkeypatch.setattr("isoprune.isometry.exact._ROWS", rows)
        torch.testing.assert_close(jacobian_singular_values(model, x, memory=memory), want, **EXACT)


def test_float32_agrees_to_its_precision():
    model, x = make("residual")
    want = jsv_by_loops(model, x)
    single = jacobian_singular_values(model.float(), x.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), want, rtol=1e-4, atol=1e-5 * float(want.max()))
    # Asked for float64, a float32 network is measured in float64, inputs and all.
    again = jacobian_singular_values(model, x.float(), dtype=torch.float64)
    torch.testing.assert_close(again, jsv_by_loops(model.double(), x.float().double()), **EXACT)


def test_half_precision_networks_are_measured_in_float32():
    model, x = make("mlp")
    half = model.bfloat16()
    sigma = jacobian_singular_values(half, x.bfloat16())
    assert sigma.dtype == torch.float32
    assert next(half.parameters()).dtype == torch.bfloat16
    want = jsv_by_loops(copy.deepcopy(half).double(), x.bfloat16().double())
    torch.testing.assert_close(sigma.double(), want, rtol=1e-4, atol=1e-6)


def test_linear_network_jsv_equals_that_of_the_weight_product():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3)).double().eval()
    W = model[1].weight @ model[0].weight
    sigma = jacobian_singular_values(model, torch.randn(4, 7).double())
    torch.testing.assert_close(sigma, torch.linalg.svdvals(W.detach()).expand(4, 3), **EXACT)


def test_orthogonal_weights_give_ones():
    model = nn.Sequential(nn.Linear(9, 6), nn.Linear(6, 6), nn.Linear(6, 4)).double().eval()
    for layer in model:
        nn.init.orthogonal_(layer.weight)
    sigma = jacobian_singular_values(model, torch.randn(2, 9).double())
    torch.testing.assert_close(sigma, torch.ones(2, 4).double(), **EXACT)


def test_delta_orthogonal_convolutions_give_ones():
    layers = [nn.Conv2d(c, d, 3, padding=1, padding_mode="circular", bias=False) for c, d in ((2, 5), (5, 7))]
    for layer in layers:
        nn.init.zeros_(layer.weight)
        layer.weight.data[:, :, 1, 1] = nn.init.orthogonal_(torch.empty(layer.weight.shape[:2]))
    model = nn.Sequential(*layers).double().eval()
    for layer in layers:  # orthogonal_ works in float32
        U, _, Vh = torch.linalg.svd(layer.weight.data[:, :, 1, 1], full_matrices=False)
        layer.weight.data[:, :, 1, 1] = U @ Vh
    sigma = jacobian_singular_values(model, torch.randn(2, 2, 6, 6).double())
    torch.testing.assert_close(sigma, torch.ones(2, 72).double(), **EXACT)


def test_more_outputs_than_inputs():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 20)).double().eval()
    x = torch.randn(4, 3).double()
    sigma = jacobian_singular_values(model, x)
    assert sigma.shape == (4, 3)
    torch.testing.assert_close(sigma, jsv_by_loops(model, x), **EXACT)


def test_one_output_without_a_dimension_of_its_own():
    class Norm(nn.Module):
        def forward(self, x):
            return x.flatten(1).norm(dim=1)

    x = torch.randn(3, 2, 2).double()
    torch.testing.assert_close(jacobian_singular_values(Norm().eval(), x), torch.ones(3, 1).double(), **EXACT)


def test_a_network_that_died_has_zeros_and_says_nothing_else():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    nn.init.constant_(model[0].bias, -1e6)
    assert torch.equal(jacobian_singular_values(model, torch.randn(3, 4)), torch.zeros(3, 2))


def test_jacobian_has_one_row_an_output():
    model, x = make("residual", samples=2)
    want = torch.stack([jacobian_by_loops(model, x_n) for x_n in x])
    torch.testing.assert_close(jacobian(model, x), want, **EXACT)


class ByHand(torch.autograd.Function):
    """Doubles; its backward looks at values, so it cannot be batched."""

    @staticmethod
    def forward(_ctx, x):
        return 2 * x

    @staticmethod
    def backward(_ctx, g):
        return g * (2 if float(g.abs().sum()) >= 0 else 3)


def test_backward_that_cannot_be_batched_is_run_one_by_one():
    class Doubled(nn.Module):
        def forward(self, x):
            return ByHand.apply(x)

    sigma = jacobian_singular_values(Doubled().eval(), torch.randn(2, 5))
    torch.testing.assert_close(sigma, torch.full((2, 5), 2.0))
    x = torch.randn(2, 3, requires_grad=True)
    u = torch.randn(4, 2, 3)
    torch.testing.assert_close(pull_back(ByHand.apply(x), x, u), 2 * u)


def test_model_gradients_flags_buffers_and_generators_stay_as_they_were():
    model, x = make("residual")

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1  # writes into a buffer, in eval mode too
            return self.inner(x)

    net = Counting().eval()
    net.inner[0].weight.requires_grad_(False)
    net.inner[7].weight.grad = torch.full_like(net.inner[7].weight, 3.0)
    x.requires_grad_()
    before = copy.deepcopy(net)
    rng = torch.get_rng_state()
    jacobian_singular_values(net, x)
    assert torch.equal(torch.get_rng_state(), rng)
    for (name, a), b in zip(net.state_dict().items(), before.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    for a, b in zip(net.parameters(), before.parameters(), strict=True):
        assert a.requires_grad == b.requires_grad
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["inner.7.weight"]
    assert torch.equal(net.inner[7].weight.grad, torch.full_like(net.inner[7].weight, 3.0))
    assert x.grad is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert not any(m.training for m in net.modules())


def test_no_grad_inference_mode_and_autocast_around_the_call_change_nothing():
    model, x = make("mlp", dtype=torch.float32)
    want = jacobian_singular_values(model, x)
    with torch.no_grad():
        assert torch.equal(jacobian_singular_values(model, x), want)
    with torch.autocast("cpu"):
        assert torch.equal(jacobian_singular_values(model, x), want)
    with torch.inference_mode():
        assert torch.equal(jacobian_singular_values(model, x.clone()), want)


def test_language_model_through_its_embedding():
    torch.manual_seed(0)
    model = Language().double().eval()
    words = torch.randint(11, (3, 4))
    sigma = jacobian_singular_values(model, words, input="embed", output=lambda out: out["logits"][:, -1])
    for n in range(3):
        J = jacobian_by_loops(lambda e: model.head(model.mix(e)[0])[:, -1], model.embed(words[n]).detach())
        torch.testing.assert_close(sigma[n], torch.linalg.svdvals(J.detach()), **EXACT)
    assert not model.embed._forward_hooks
    everything = jacobian_singular_values(model, {"words": words}, input="embed", output="logits")
    assert everything.shape == (3, 24)


def test_tuples_mappings_indices_and_keys_pick_the_same():
    class Two(nn.Module):
        def forward(self, a, b):
            return a @ b, {"sum": a.sum(-1)}

    a, b = torch.randn(2, 3, 4).double(), torch.randn(2, 4, 5).double()
    model = Two().eval()
    # d(a b)/da = identity (x) b^T
    want = torch.linalg.svdvals(
        torch.stack([torch.kron(torch.eye(3).double(), m.mT.contiguous()) for m in b])
    )
    for inputs, pick in (((a, b), 0), ({"a": a, "b": b}, "a"), ([a, b], -2)):
        got = jacobian_singular_values(model, inputs, input=pick, output=0)
        torch.testing.assert_close(got, want, **EXACT)
    in_b = jacobian_singular_values(model, (a, b), input=1, output=lambda out: out[0])
    want = torch.linalg.svdvals(torch.stack([torch.kron(m, torch.eye(5).double()) for m in a]))
    torch.testing.assert_close(in_b, want, **EXACT)


@pytest.mark.parametrize(("samples", "outputs", "inputs"), [(1, 1000, 12288), (100, 10, 1024), (3, 2, 5)])
def test_plan_stays_within_any_bound_that_one_row_fits_into(samples, outputs, inputs):
    cost = Footprint(saved=10**6, largest=10**5)
    kept = 12345
    least = kept + 3 * outputs * inputs * 4 + cost.saved + _LIVE * max(cost.largest, 4 * inputs)
    for memory in (least, 2 * least, 5 * least, 10**12):
        chunk = _chunk(cost, kept, samples, outputs, inputs, 4, memory)
        rows = chunk.samples * chunk.copies
        J = 3 * chunk.samples * outputs * inputs * 4
        assert (
            kept + J + rows * (cost.saved + _LIVE * chunk.cotangents * max(cost.largest, 4 * inputs))
            <= memory
        )
        assert 1 <= chunk.samples <= samples
        assert 1 <= chunk.copies * chunk.cotangents < 2 * outputs
    with pytest.raises(IsopruneError, match=r"take .* bytes; memory = .* Raise memory"):
        _chunk(cost, kept, samples, outputs, inputs, 4, least - 1)
