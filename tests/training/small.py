"""Small data and networks for the training tests, and training written out step by step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import Generator, nn
from torch.nn.functional import cross_entropy

from isoprune.training import Saving, Trained, Training, Watch
from isoprune.training import fit as fit_
from isoprune.types import Splits
from isoprune.types.samples import Split


def fit(model: nn.Module, splits: Splits, **given: Any) -> Trained:
    """Call `fit` with the fields of its types as keywords."""

    def taken(kind: type, **names: str) -> dict[str, Any]:
        keys = {names.get(f.name, f.name): f.name for f in fields(kind)}
        return {keys[key]: given.pop(key) for key in list(given) if key in keys}

    saving = taken(Saving, path="checkpoint", steps="save_steps", seconds="save_seconds")
    training, watch = Training(**taken(Training)), Watch(**taken(Watch))
    return fit_(
        model,
        splits,
        training,
        **given,
        watch=watch,
        saving=Saving(**saving) if saving.get("path") else None,
    )


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def small_splits(train: int = 23, dtype: torch.dtype = torch.float64, seed: int = 0) -> Splits:
    """Three classes, 1 x 2 x 3 inputs. Test is NaN: training must not so much as look at it."""
    g = seeded(seed)

    def split(n: int) -> Split:
        return Split(torch.randn(n, 1, 2, 3, generator=g, dtype=dtype), torch.arange(n) % 3)

    empty = Split(torch.full((2, 1, 2, 3), torch.nan, dtype=dtype), torch.tensor([-1, -1]))
    return Splits(split(train), split(9), empty, classes=3)


def small_net(dtype: torch.dtype = torch.float64) -> nn.Module:
    """Linear, BatchNorm, ReLU, Linear, with weights of its own generator."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).to(
        dtype
    )
    return drawn(net)


def drawn(net: nn.Module) -> nn.Module:
    """Return the network with small weights of a generator of its own, in its type."""
    g = seeded(1)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=p.dtype) / 2)
    return net


def sgd_by_hand(
    net: nn.Module,
    splits: Splits,
    *,
    epochs: int,
    lr: float,
    schedule: Callable[[float], float],
    batch: int,
    momentum: float,
    weight_decay: float,
    generator: Generator,
    steps: int | None = None,
) -> list[float]:
    """Train ``net`` itself, v <- m v + g + wd w, w <- w - lr v, and return the loss of every step."""
    net.train()
    n = len(splits.train)
    starts = range(0, n, batch)
    velocity = [torch.zeros_like(p) for p in net.parameters()]
    losses = []
    total = min(steps or math.inf, epochs * len(starts))
    for epoch in range(epochs):
        order = torch.randperm(n, generator=generator)
        for step, start in enumerate(starts):
            if len(losses) == total:
                return losses
            rows = order[start : start + batch]
            loss = cross_entropy(net(splits.train.inputs[rows]), splits.train.targets[rows])
            gradients = torch.autograd.grad(loss, list(net.parameters()))
            rate = lr * schedule((epoch * len(starts) + step) / total)
            with torch.no_grad():
                for p, v, g in zip(net.parameters(), velocity, gradients, strict=True):
                    v.mul_(momentum).add_(g + weight_decay * p)
                    p.sub_(rate * v)
            losses.append(loss.item())
    return losses
