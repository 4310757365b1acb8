"""The library in ten lines, as design and README promise it."""

import functools
import subprocess
import sys

import pytest
import torch
from torch import nn

import isoprune
from isoprune.methods.repairs import orthp
from isoprune.signals.signals import Signals
from isoprune.types.task import forward


@pytest.fixture
def network():
    return isoprune.models.mlp_7(
        activation="relu",
        in_shape=(1, 8, 8),
        classes=10,
        width=12,
        generator=torch.Generator().manual_seed(0),
    ).double()


@pytest.fixture
def images():
    return torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_import_does_not_load_torch():
    code = "import sys, isoprune; dir(isoprune); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_every_public_name_is_there():
    for name in isoprune.__all__:
        assert getattr(isoprune, name) is not None


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="finetune"):
        _ = isoprune.finetune


def test_the_story_in_ten_lines(network, images):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    result = isoprune.prune(network, images, ratio=0.5, criterion="l1_norm")
    assert type(result.model) is type(network)
    assert isoprune.verify(result).max_abs_error < 1e-12
    repaired = isoprune.repair(result, method="orthp")
    # OrthP makes every layer sqrt(2) times an isometry, so no gradient can grow by more than 2 ** (7 / 2).
    sigma = isoprune.jacobian_singular_values(repaired.model.eval(), images)
    assert sigma.shape == (5, 10)
    assert float(sigma.max()) <= 2 ** (7 / 2) * (1 + 1e-9)
    assert float(sigma.mean()) > float(isoprune.jacobian_singular_values(result.model.eval(), images).mean())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_linear_network_has_jsv_one_after_orthp(images):
    linear = isoprune.models.mlp_7(activation="linear", in_shape=(1, 8, 8), classes=10, width=12).double()
    repaired = isoprune.repair(isoprune.prune(linear, images, ratio=0.8 / 7), method="orthp")
    sigma = isoprune.jacobian_singular_values(repaired.model.eval(), images)
    torch.testing.assert_close(sigma, torch.ones_like(sigma), rtol=0, atol=1e-10)


def test_unknown_repair_says_what_was_meant(network, images):
    result = isoprune.prune(network, images, ratio=0.5)
    with pytest.raises(isoprune.IsopruneError, match=r"Unknown repair 'orthop'\. Did you mean 'orthp'\?"):
        isoprune.repair(result, method="orthop")


def test_a_list_of_repairs_is_done_in_order_and_auto_is_the_default(network, images):
    batches = [(images, torch.zeros(5))]
    result = isoprune.prune(network, images, ratio=0.5)
    in_turn = isoprune.repair(result, method=["polar", functools.partial(orthp, gain=2.0)])
    first = isoprune.repair(result, method="polar")
    by_hand = orthp(first, Signals(first.model), generator=torch.Generator(), gain=2.0)
    for a, b in zip(in_turn.model.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(a, b)
    chosen = isoprune.repair(result, batches=batches, seed=3)
    named = isoprune.repair(result, method="auto", batches=batches, seed=3)
    for a, b in zip(chosen.model.parameters(), named.model.parameters(), strict=True):
        assert torch.equal(a, b)
    steps = [entry["method"] for entry in in_turn.history if entry["step"] == "repair"]
    assert steps == [["polar", "orthp"]]
    assert in_turn.dense is network
    assert in_turn.plan == result.plan


def test_a_repair_that_lacks_what_it_needs_says_what(network, images):
    result = isoprune.prune(network, images, ratio=0.5)
    with pytest.raises(isoprune.IsopruneError, match=r"Repair 'auto' looks at data, .* Pass batches="):
        isoprune.repair(result)
    with pytest.raises(isoprune.IsopruneError, match=r"Repair 'auto' looks at the network before pruning"):
        isoprune.repair(result.model, batches=[(images, torch.zeros(5))])
    alone = isoprune.repair(result.model, "polar")
    assert not alone.plan
    assert alone.dense is result.model


class Keyed(nn.Module):
    """Two inputs, one of them optional; outputs in a dict."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, x, y=None):
        return {"out": self.body(x if y is None else x - y), "like": [x]}


@pytest.mark.parametrize(
    "how",
    [lambda x: x, lambda x: (x, x.roll(1, 1)), lambda x: {"x": x, "y": x**2}, lambda x: {"x": x, "y": None}],
)
@pytest.mark.parametrize("method", ["auto", "lsuv", "data_dependent", "balance"])
def test_inputs_and_outputs_of_any_structure_are_repaired(how, method):
    dense, x = Keyed().eval(), torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    result = isoprune.prune(dense, how(x[:2]), ratio=0.5)
    batches = [(how(part), torch.zeros(len(part))) for part in x.split(25)]
    repaired = isoprune.repair(result, method, batches=batches).model
    with torch.no_grad():
        made, before, want = (forward(net, how(x))["out"] for net in (repaired, result.model, dense))
    assert torch.isfinite(made).all()
    if method == "auto":
        assert (made - want).norm() < (before - want).norm()
