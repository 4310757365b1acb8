"""Stages of random modules: (hidden, input) -> hidden, for vectors, signals and images alike.

A stage has a `name`. One that is drawn at random within takes what it draws from `rng`, so that a seed gives
the same module again. Noise along channels has its size in an attribute `noise`: a comparison sets it to 0.
"""

# ruff: noqa: ARG002, ARG005, RUF012

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

ACTIVATIONS = (nn.ReLU, nn.GELU, nn.Tanh, nn.SiLU, nn.Sigmoid)


def layer(rank, inputs, outputs, groups=1):
    """Return what maps channels to channels and leaves other sizes alone."""
    if rank == 2:
        return nn.Linear(inputs, outputs)
    kind = nn.Conv1d if rank == 3 else nn.Conv2d
    return kind(inputs, outputs, 3, padding=1, groups=groups)


class Plain(nn.Module):
    def __init__(self, rng, rank, width):
        super().__init__()
        self.width = rng.choice((6, 8, 12))
        self.layer, self.act = layer(rank, width, self.width), rng.choice(ACTIVATIONS)()

    def forward(self, h, x):
        return self.act(self.layer(h))


class Residual(nn.Module):
    def __init__(self, rng, rank, width):
        super().__init__()
        self.width, inner = width, rng.choice((5, 8, 10))
        self.up, self.down = layer(rank, width, inner), layer(rank, inner, width)
        self.act, self.scale = rng.choice(ACTIVATIONS)(), rng.choice((1, 0.5))

    def forward(self, h, x):
        return h + self.scale * self.down(self.act(self.up(h)))


class Gated(nn.Module):
    def __init__(self, rng, rank, width):
        super().__init__()
        self.width = rng.choice((6, 8))
        self.joined = rng.random() < 0.5
        self.value = layer(rank, width, self.width * (1 + self.joined))
        self.gate = None if self.joined else layer(rank, width, self.width)

    def forward(self, h, x):
        return F.glu(self.value(h), 1) if self.joined else self.gate(h).sigmoid() * self.value(h)


class Concatenated(nn.Module):
    def __init__(self, rng, rank, width):
        super().__init__()
        self.a, self.b, self.old = layer(rank, width, 4), layer(rank, width, 6), rng.random() < 0.5
        self.width = 10 + (width if self.old else 0)

    def forward(self, h, x):
        return torch.cat((self.a(h).relu(), self.b(h), *((h,) if self.old else ())), 1)


class Grouped(nn.Module):
    def __init__(self, rng, rank, width):
        super().__init__()
        self.width, groups = width, rng.choice([g for g in (2, width) if width % g == 0])
        self.layer = layer(rank, width, width, groups if rank > 2 else 1)

    def forward(self, h, x):
        return self.layer(h).relu()


class Normed(nn.Module):
    def __init__(self, rng, rank, width):
        super().__init__()
        self.width = width
        batch = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[rank]
        self.kind = rng.choice(("batch", "batch", "layer", "group"))
        groups = rng.choice([g for g in (1, 2) if width % g == 0])
        kinds = {"batch": batch, "layer": nn.LayerNorm, "group": lambda n: nn.GroupNorm(groups, n)}
        self.norm = kinds[self.kind](width)

    def forward(self, h, x):
        return self.norm(h.movedim(1, -1)).movedim(-1, 1) if self.kind == "layer" else self.norm(h)


class Masked(Plain):
    """A weight masked by `torch.nn.utils.prune`, filters or elements."""

    def __init__(self, rng, rank, width):
        super().__init__(rng, rank, width)
        if rng.random() < 0.5:
            prune.random_unstructured(self.layer, "weight", 0.4)
        else:
            prune.ln_structured(self.layer, "weight", 0.5, n=1, dim=rng.choice((0, 1)))
        if rng.random() < 0.3:
            prune.random_unstructured(self.layer, "bias", 0.3)


class Halved(nn.Module):
    def forward(self, w):
        return w * 0.5


class ByHand(nn.Module):
    """A weight over its own norms."""

    def forward(self, w):
        return w / (w.flatten(1).norm(dim=1).view(-1, *[1] * (w.dim() - 1)) + 1e-3)


def _old_weight_norm(layer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(layer)


def _parametrized(kind):
    return lambda layer: parametrize.register_parametrization(layer, "weight", kind())


class Reparametrized(Plain):
    """A weight that another computes: norms of torch, norms by hand, a factor."""

    KINDS = {
        "weight norm": parametrizations.weight_norm,
        "old weight norm": _old_weight_norm,
        "spectral norm": parametrizations.spectral_norm,
        "old spectral norm": nn.utils.spectral_norm,
        "factor": _parametrized(Halved),
        "norm by hand": _parametrized(ByHand),
    }

    def __init__(self, rng, rank, width):
        super().__init__(rng, rank, width)
        self.kind = rng.choice(sorted(self.KINDS))
        self.KINDS[self.kind](self.layer)


class Noisy(nn.Module):
    """Draws in eval mode too: always-on dropout, a reparametrised normal, noise of the hidden size."""

    def __init__(self, rng, rank, width):
        super().__init__()
        self.width, self.noise = width, 0.3
        self.kind = rng.choice(("dropout", "normal", "spread"))
        self.a = layer(rank, width, width)

    def forward(self, h, x):
        h = self.a(h)
        if not self.noise:
            return h
        if self.kind == "dropout":
            return F.dropout(h, self.noise, training=True)
        spread = h.sigmoid() if self.kind == "spread" else 1
        return h + self.noise * torch.randn_like(h) * spread


class Averaging(nn.Module):
    """A running mean that each forward changes, and reads."""

    def __init__(self, rng, rank, width):
        super().__init__()
        self.width = width
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, h, x):
        self.calls += 1
        self.mean.mul_(0.9).add_(0.1 * h.detach().movedim(1, -1).flatten(0, -2).mean(0))
        return h - self.mean.view(1, -1, *[1] * (h.dim() - 2))


class Counting(nn.Module):
    """A plain number that counts calls and scales what comes out."""

    def __init__(self, rng, rank, width):
        super().__init__()
        self.width = width
        self.layer, self.calls = layer(rank, width, width), 0

    def forward(self, h, x):
        self.calls += 1
        return self.layer(h) / min(self.calls, 3)


class Branching(nn.Module):
    """One of two layers, as a value of the input, of the hidden tensor, or the batch size says."""

    WAYS = {
        "mean": lambda h, x: x.mean() > 0.5,
        "item": lambda h, x: x.mean().item() > 0.5,
        "any": lambda h, x: (x > 1.5).any(),
        "float": lambda h, x: float(x.mean()) > 0.5,
        "samples": lambda h, x: len(x) > 2,
        "hidden": lambda h, x: h.mean() > 0,
        "odd": lambda h, x: int(x.flatten().argmax()) % 2 == 1,
    }

    def __init__(self, rng, rank, width):
        super().__init__()
        self.width, self.kind = width, rng.choice(sorted(self.WAYS))
        self.a, self.b = layer(rank, width, 8), layer(rank, width, 8)
        self.down, self.skip = layer(rank, 8, width), rng.random() < 0.5

    def forward(self, h, x):
        if self.WAYS[self.kind](h, x):
            return h + self.down(self.a(h).relu())
        return h if self.skip else self.down(self.b(h).tanh())


class Rerouted(Branching):
    """A branch on which the same layers run, and their channels meet in another order."""

    def __init__(self, rng, rank, width):
        nn.Module.__init__(self)
        self.width, self.kind = 12, rng.choice(sorted(Branching.WAYS))
        self.a, self.b = layer(rank, width, 6), layer(rank, width, 6)

    def forward(self, h, x):
        a, b = self.a(h), self.b(h).relu()
        return torch.cat((a, b) if self.WAYS[self.kind](h, x) else (b, a), 1)


STAGES = {
    "plain": Plain,
    "residual": Residual,
    "gated": Gated,
    "concatenated": Concatenated,
    "grouped": Grouped,
    "normed": Normed,
}
DECORATIONS = {
    "masked": Masked,
    "reparametrized": Reparametrized,
    "noisy": Noisy,
    "averaging": Averaging,
    "counting": Counting,
    "branching": Branching,
    "rerouted": Rerouted,
}


class Unflattened(nn.Module):
    """A vector made an image by `view` (as generators do) or `unflatten`."""

    def __init__(self, rng, rank, width):
        super().__init__()
        self.width, self.viewed = rng.choice((4, 6)), rng.random() < 0.5
        self.up = nn.Linear(width, self.width * 16)

    def forward(self, h, x):
        h = self.up(h)
        return h.view(len(h), -1, 4, 4) if self.viewed else h.unflatten(1, (-1, 4, 4))


class Flattened(nn.Module):
    """Signals and images made vectors: by a mean, a pool, or channel by channel."""

    def __init__(self, rng, shape):
        super().__init__()
        self.kind = rng.choice(("mean", "max", "flatten"))
        self.width = shape[1:].numel() if self.kind == "flatten" else shape[1]

    def forward(self, h, x):
        if self.kind == "flatten":
            return h.flatten(1)
        return h.flatten(2).mean(2) if self.kind == "mean" else h.flatten(2).amax(2)
