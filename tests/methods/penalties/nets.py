"""Networks with every kind of layer that a penalty knows, their graphs, and plans of what goes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import isoprune
from graph.attention_networks import Heads
from isoprune.graph import Graph
from isoprune.types import Plan

IMAGE = (2, 6, 6)


def plain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 3),
    )  # fmt: skip


def depthwise() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 6, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6),
        nn.ReLU(), nn.Conv2d(6, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def grouped() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 8, 1), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2), nn.ReLU(),
        nn.Conv2d(6, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 4, 1)
        self.norm, self.head = nn.BatchNorm2d(6), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.b(torch.relu(self.norm(self.a(x))))
        return self.head(x.mean((2, 3)))


class Attending(Heads):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(2)[..., :7])


NETS = {"plain": plain, "depthwise": depthwise, "grouped": grouped, "residual": Residual}
HEADED = {"attending": Attending}


def drawn(name: str, seed: int = 0) -> nn.Module:
    """Return a network in float64 as after training: nothing at its initial value."""
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        net = {**NETS, **HEADED}[name]().double().eval()
        for tensor in [*net.parameters(), *net.buffers()]:
            if tensor.is_floating_point():
                tensor.data += 0.1 * torch.rand_like(tensor)
    return net


def example() -> torch.Tensor:
    return torch.randn(2, *IMAGE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def planned(net: nn.Module, ratio: float = 0.5, grain: str = "channel") -> tuple[Graph, Plan]:
    result = isoprune.prune(net, example(), None if ":" in grain else ratio, grain=grain)
    return result.graph, result.plan


def gradients(loss: torch.Tensor, net: nn.Module) -> dict[str, Any]:
    names, parameters = zip(*net.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {
        name: torch.zeros_like(p) if g is None else g
        for name, p, g in zip(names, parameters, found, strict=True)
    }
