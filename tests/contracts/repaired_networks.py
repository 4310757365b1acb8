"""Small networks as after training, and what pruning makes of them: what repairs are checked on."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn

import isoprune
from graph.attention_networks import Fused
from isoprune.pruning.grains import read_grain
from isoprune.types import Plan
from isoprune.types.units import DEPTH, GRAINS


class Residual(nn.Module):
    """A convolution, a block around which its input goes, and a depthwise and a transposed convolution."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.block, self.inner = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.depthwise, self.point = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.Conv2d(6, 8, 1)
        self.up, self.act, self.head = nn.ConvTranspose2d(8, 4, 2, stride=2), nn.ReLU(), nn.Linear(4, 3)

    def forward(self, x):
        x = self.act(self.norm(self.stem(x)))
        x = self.act(x + self.inner(self.block(x)))
        x = self.act(self.point(self.act(self.depthwise(x))))
        return self.head(self.act(self.up(x)).mean((2, 3)))


class Attends(nn.Module):
    """An attention between Linear layers, in a residual sum."""

    def __init__(self):
        super().__init__()
        self.read, self.act = nn.Linear(4, 8), nn.ReLU()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.inner, self.head = nn.Linear(8, 12), nn.Linear(12, 3)

    def forward(self, x):
        x = self.read(x[:, 0])
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(self.act(self.inner(x)).mean(1))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.act, self.outer = nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6)

    def forward(self, x):
        return x + self.outer(self.act(self.inner(x)))


def stack():
    """Return a list of residual blocks."""
    blocks = nn.Sequential(*(Block() for _ in range(4)))
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 6), blocks, nn.Linear(6, 4))


def heads():
    """Return a network whose attention can do with fewer heads, which torch's own layer cannot."""
    return nn.Sequential(nn.Flatten(1, 2), nn.Linear(4, 7), Fused(8, 2))


def mlp():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 4)
    )


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 4, 2, groups=2), nn.Flatten(), nn.Linear(4, 14), nn.ReLU(), nn.Linear(14, 20),
    )  # fmt: skip


NETWORKS = {f.__name__: f for f in (mlp, convolutional, Residual, Attends)}
WAYS = {
    "channels gone": {"grain": "channel"},
    "channels masked": {"grain": "channel", "mask": True},
    "weights masked": {"grain": "weight"},
    "n:m masked": {"grain": "2:4", "ratio": None},
    "blocks masked": {"grain": "2x3"},
    "vectors masked": {"grain": "vector"},
    "kernels masked": {"grain": "kernel"},
    "filters masked": {"grain": "filter"},
    "heads gone": {"grain": "head"},
    "heads masked": {"grain": "head", "mask": True},
    "residual blocks gone": {"grain": DEPTH},
}
# Of some grains other networks have units.
OWN = {"head": {"heads": heads}, DEPTH: {"stack": stack}}


def grain_of(way):
    return read_grain(WAYS[way]["grain"]).name


assert {*map(grain_of, WAYS)} == {*GRAINS, DEPTH}, "a grain that no repair is checked at"


def networks(way):
    """Return the networks that lose units in a way, by name; of each grain the most telling one first."""
    few = ("mlp", *NETWORKS) if grain_of(way) in ("channel", "weight") else ("convolutional", *NETWORKS)
    return OWN.get(grain_of(way), {name: NETWORKS[name] for name in few})


def trained(build, seed=5):
    """Return a network in float64 as after training: no parameter and no statistic at its initial value."""
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        net = build().double().eval()
        for tensor in [*net.parameters(), *net.buffers()]:
            if tensor.is_floating_point():
                tensor.data += 0.1 * torch.rand_like(tensor)
    return net


def batches():
    x = torch.randn(12, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return [(x[:7], torch.arange(7) % 3), (x[7:], torch.arange(5) % 3)]


def pruned(name, way="channels gone", ratio=0.5):
    """Return a network of which half of the units went."""
    how = {"ratio": ratio, **WAYS[way]}
    return isoprune.prune(trained(networks(way)[name]), batches()[0][0][:2], **how)


def permuted(result, order):
    """Return a pruned MLP as it is where the dense one has its first hidden neurons in another order."""
    unit = result.graph.groups[0].name
    before = result.plan.kept.get(unit, torch.ones(12, dtype=torch.bool))
    masked = result.plan.grain != "channel"
    plan, small = result.plan, order
    if not masked:
        plan = Plan({**plan.kept, unit: before[order]}, plan.grain, plan.request)
        if result.model[1].out_features < 12:
            small = (before.cumsum(0) - 1)[order[before[order]]]
    dense, model = _in_order(result.dense, order), _in_order(result.model, small)
    return replace(result, dense=dense, plan=plan, model=model), small


def _in_order(net, order):
    net = copy.deepcopy(net)
    state = net.state_dict()
    for name, tensor in state.items():
        if name.startswith("1."):
            state[name] = tensor[order]
        elif name.startswith("3.") and tensor.ndim == 2:
            state[name] = tensor[:, order]
    net.load_state_dict(state)
    return net


def in_order(state, order):
    """Return the state of such a network with its first hidden neurons in another order."""
    moved = {k: t[order] if k.startswith("1.") else t for k, t in state.items()}
    return {k: t[:, order] if k.startswith("3.") and t.ndim == 2 else t for k, t in moved.items()}
