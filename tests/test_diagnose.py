"""`isoprune.diagnose`: repairs are tried on copies, and what refuses is listed, not raised."""

from __future__ import annotations

import copy
import importlib

import pytest
import torch
from torch import nn

import isoprune
from isoprune.isometry import jacobian_singular_values
from isoprune.methods.repairs import REPAIRS
from isoprune.types.method import method_of
from isoprune.verbs.diagnose import every_repair, try_repairs

diagnosis = importlib.import_module("isoprune.verbs.diagnose")  # the name is that of the function too


@pytest.fixture
def dense():
    generator = torch.Generator().manual_seed(0)
    return isoprune.models.mlp_7(
        activation="relu", in_shape=(1, 8, 8), classes=10, width=40, generator=generator
    ).eval()


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(16, 1, 8, 8, generator=generator), torch.arange(16) % 10) for _ in range(2)]


@pytest.fixture
def result(dense, batches):
    return isoprune.prune(dense, batches[0][0], ratio=0.8)


@pytest.mark.matrix
def test_every_repair_is_told_with_its_mean_or_its_reason(result, dense, batches):
    before = copy.deepcopy(result.model.state_dict())
    found = isoprune.diagnose(result, batches)
    assert found.verdict in ("damaged", "collapsed")
    assert {*found.repairs, *found.refused} == set(every_repair())
    inputs = torch.cat([x for x, _ in batches])
    orthp = isoprune.repair(result, method="orthp", batches=batches).model.eval()
    want = float(jacobian_singular_values(orthp, inputs).double().mean())
    assert found.numbers["orthp_jsv_mean"] == pytest.approx(want, rel=1e-6)
    assert any(s.startswith("Repair orthp brings the mean to") for s in found.sentences)
    for name, tensor in result.model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_repairs_that_need_an_option_are_not_tried_by_themselves(monkeypatch):
    def optional(pruned, signals, *, generator, gain=1.0): ...

    def needy(pruned, signals, *, generator, steps): ...

    monkeypatch.setattr(diagnosis, "REPAIRS", {"none": REPAIRS["none"], "optional": optional, "needy": needy})
    assert every_repair() == ["optional"]


def test_a_healthy_network_is_left_alone_unless_asked(dense, batches):
    assert isoprune.diagnose(dense, batches, dense).repairs == ()
    assert isoprune.diagnose(dense, batches, dense, repairs=["orthp"]).repairs == ("orthp",)
    assert (
        isoprune.diagnose(dense, batches, dense, repairs=["none"]).numbers["none_jsv_mean"]
        == (isoprune.diagnose(dense, batches, dense).numbers["jsv_mean"])
    )


@pytest.mark.matrix
def test_batches_of_an_iterator_serve_repairs_too(result, dense, batches):
    once = isoprune.diagnose(result, iter(batches), dense)
    again = isoprune.diagnose(result, batches, dense)
    assert once.numbers == again.numbers
    assert once.repairs == again.repairs


def test_what_refuses_or_stumbles_is_listed(result, dense, batches, monkeypatch):
    def stumbling(pruned, signals, *, generator):
        raise TypeError("forward() takes 2 arguments")

    def picky(pruned, signals, *, generator):
        raise isoprune.IsopruneError("It needs what is not there. Give it.")

    def curious(pruned, signals, *, generator):
        assert pruned.dense is dense
        assert pruned.plan
        assert next(iter(signals.batches))
        return pruned.model

    monkeypatch.setattr(
        diagnosis,
        "REPAIRS",
        {"stumbling": stumbling, "picky": picky, "curious": curious, "none": REPAIRS["none"]},
    )
    found = isoprune.diagnose(result, batches, dense)
    assert found.refused == {
        "stumbling": "It failed on this network: TypeError: forward() takes 2 arguments",
        "picky": "It needs what is not there. Give it.",
    }
    assert found.repairs == ("curious",)


def test_repairs_draw_from_the_seed(result):
    weights = [
        torch.cat(
            [p.flatten() for p in dict(try_repairs(result, ["scratch"], seed=s))["scratch"].parameters()]
        )
        for s in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_an_unknown_repair_is_refused_before_anything_is_tried():
    with pytest.raises(isoprune.IsopruneError, match=r"Unknown repair 'orthop'\. Did you mean 'orthp'"):
        try_repairs(nn.Linear(2, 2), ["orthop"])


@pytest.mark.matrix
@pytest.mark.parametrize("how", [{"grain": "weight"}, {"grain": "filter"}, {"mask": True}])
def test_a_masked_network_is_diagnosed_with_every_repair_that_knows_its_grain(how, batches):
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 10)
    )
    masked = isoprune.prune(net.eval(), batches[0][0], 0.6, **how)
    assert not any(module.training for module in masked.model.modules())
    diagnosis = isoprune.diagnose(masked, batches, repairs=every_repair())
    grain = how.get("grain", "channel")
    strangers = {name for name in every_repair() if grain not in method_of(REPAIRS[name]).grains}
    assert diagnosis.refused.keys() == strangers
    assert len(strangers) < len(every_repair()) / 2
    assert [row["name"] for row in diagnosis.layers] == [str(i) for i in range(6)]
    plain = isoprune.diagnose(isoprune.harden(masked), batches, repairs=())
    for key, value in plain.numbers.items():
        assert diagnosis.numbers[key] == pytest.approx(value, rel=1e-6)
