"""Outputs of finished modules, kept: the same as a forward makes, and never of a layer that changes."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isoprune.methods.layers.finished_outputs import FinishedOutputs


class Twice(nn.Module):
    """A block that runs before and behind another layer."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.between = block(), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.shared(self.between(self.shared(x)))


class WritesIntoItsInput(nn.Module):
    """A block that changes what the rest of the network reads beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 4))
        self.last = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = x + 0.0
        return self.last(self.first(y) + y)


class WritesIntoWhatItIsHanded(nn.Module):
    """A network that goes on in place with what a block made."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = block(), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        y += 1.0
        return self.last(F.relu(y, inplace=True))


class GoesBack(nn.Module):
    """A block whose first layer is called from outside, and the whole block later."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.between = block(), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.between(self.block[0](x)))


class Pairs(nn.Module):
    """A block that returns two tensors in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = Halves(), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.last(y["a"] * y["b"])


class Halves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"a": self.a(x), "b": self.b(x)}


def block() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 4))


def deep() -> nn.Sequential:
    return nn.Sequential(*(block() for _ in range(4)))


KINDS = [deep, Twice, WritesIntoItsInput, WritesIntoWhatItIsHanded, GoesBack, Pairs]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("memory", [0, 300, 10**6])
def test_every_forward_is_the_network_s_own_while_layers_change(kind, memory):
    torch.manual_seed(0)
    net = kind().eval()
    chunks = [torch.randn(3, 4) for _ in range(3)]
    layers = in_running_order(net, chunks[0])
    finished = FinishedOutputs(net, layers, len(chunks), memory)
    with torch.no_grad(), finished.on():
        for layer in layers.values():
            for _ in range(2):  # the second time from what the first one kept
                for i, chunk in enumerate(chunks):
                    want = net(chunk)
                    with finished.running(layer, i):
                        assert torch.equal(net(chunk), want)
            layer.weight.add_(0.1 * torch.randn(4, 4))


def test_what_is_finished_does_not_run_again():
    net, runs = deep().eval(), []
    layers = in_running_order(net, torch.randn(2, 4))
    for name, layer in layers.items():
        layer.forward = lambda x, name=name, run=layer.forward: runs.append(name) or run(x)
    finished = FinishedOutputs(net, layers, 1, 10**6)
    with torch.no_grad(), finished.on():
        for layer in layers.values():
            with finished.running(layer, 0):
                net(torch.zeros(2, 4))
    # Each once while it changes and once to be kept, and those behind the layer that changes.
    ahead = sum(range(len(layers) + 1))
    assert len(runs) < ahead + 2 * len(layers)
    assert all(runs.count(name) <= i + 3 for i, name in enumerate(layers))


def test_a_repair_may_go_back():
    net = deep().eval()
    x = torch.randn(2, 4)
    layers = in_running_order(net, x)
    first, *_, last = layers.values()
    finished = FinishedOutputs(net, layers, 1, 10**6)
    with torch.no_grad(), finished.on():
        for _ in range(2):
            with finished.running(last, 0):
                net(x)
        with finished.running(first, 0):
            net(x)
        first.weight.mul_(2.0)
        want = net(x)
        with finished.running(last, 0):
            assert torch.equal(net(x), want)


def test_forwards_are_the_network_s_own_afterwards():
    net = deep().eval()
    layers = in_running_order(net, torch.zeros(1, 4))
    mine = net[0].forward
    net[1].forward = mine
    with FinishedOutputs(net, layers, 1, 100).on():
        assert "forward" in vars(net[0])
    assert "forward" not in vars(net[0])
    assert net[1].forward is mine


def in_running_order(net: nn.Module, x: Tensor) -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {}
    hooks = [
        module.register_forward_hook(lambda m, *_, name=name: found.setdefault(name, m) and None)
        for name, module in net.named_modules()
        if isinstance(module, nn.Linear)
    ]
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    return found
