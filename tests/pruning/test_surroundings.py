"""What stands around the call: it is left inside, unwrapped, and as it was afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isoprune.types import IsopruneError, module_of
from isoprune.verbs import prune, verify


def make():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        ).eval()


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_under_autocast_the_users_forward_stays_what_it_was():
    model = make()
    want = model(X)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first = model(X)
        result = prune(model, X, 0.5)
        verify(result)
        torch.testing.assert_close(model(X), first, rtol=0, atol=0)
        assert torch.is_autocast_enabled("cpu")
        assert result.model(X).dtype == torch.bfloat16
    assert torch.equal(model(X), want)
    assert {p.dtype for p in result.model.parameters()} == {torch.float32}
    assert result.proof.relative_error < 1e-9


@pytest.mark.parametrize("inside", [False, True])
def test_in_inference_mode_the_network_can_be_trained_after(inside):
    model = make()
    with torch.inference_mode():
        model = make() if inside else model
        result = prune(model, X.clone(), 0.5)
        verify(result)
        assert torch.is_inference_mode_enabled()
    result.model(X).square().sum().backward()
    assert all(p.grad is not None for p in result.model.parameters())


def test_without_gradients_and_with_demands_on_algorithms():
    with torch.no_grad():
        want = prune(make(), X, 0.5).plan
        assert not torch.is_grad_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        assert prune(make(), X, 0.5).plan.removed == want.removed
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_other_defaults_are_not_the_networks():
    model = make()
    torch.set_default_dtype(torch.float64)
    try:
        assert prune(model, X, 0.5).model[0].weight.dtype == torch.float32
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        assert prune(model, X, 0.5).model[0].weight.device.type == "cpu"


def test_wrappers_are_taken_off(tmp_path):
    meet = f"file://{tmp_path / 'meet'}"
    torch.distributed.init_process_group("gloo", init_method=meet, rank=0, world_size=1)
    try:
        model = nn.Sequential(*make(), nn.BatchNorm1d(5)).eval()
        wrapped = nn.parallel.DistributedDataParallel(model)
        assert module_of(nn.DataParallel(wrapped)) is model
        result = prune(wrapped, X, 0.5)
    finally:
        torch.distributed.destroy_process_group()
    assert type(result.model) is nn.Sequential
    assert result.dense is model


def test_compiled_networks_are_taken_as_what_they_were_made_from():
    model = make()
    compiled = torch.compile(model, backend="eager")
    assert prune(compiled, X, 0.5).dense is model
    model.compile(backend="eager")
    model(X)
    call = model._compiled_call_impl
    small = prune(model, X, 0.5).model
    assert small(X).shape == (2, 5)
    assert model._compiled_call_impl is call
    assert small._compiled_call_impl is None


def test_sharded_networks_are_refused():
    class FullyShardedDataParallel(nn.Sequential):
        pass

    with pytest.raises(IsopruneError, match=r"sharded.*Prune it before it is wrapped"):
        prune(FullyShardedDataParallel(make()), X, 0.5)


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
@pytest.mark.parametrize("script", [torch.jit.script, lambda m: torch.jit.trace(m, X)])
def test_torchscript_is_refused_with_the_way_out(script):
    with pytest.raises(IsopruneError, match=r"TorchScript module.*Give the nn\.Module that it was made from"):
        prune(script(make()), X, 0.5)
