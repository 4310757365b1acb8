"""Small hand-made networks, each with one thing that pruning tools stumble over."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from graph.attention_networks import Fused, Heads, Multihead
from graph.more_networks import MORE


class Residual(nn.Module):
    """Two sums over one stream, BatchNorm on each branch."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.a, self.norm_a = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.b, self.norm_b = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.inner, self.gate = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 1, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        x = F.relu(x + self.norm_a(self.a(x)))
        x = F.relu(x + self.norm_b(self.b(x)))
        gate = self.gate(self.inner(x)).sigmoid()
        return self.head((x * gate).mean((2, 3)))


class Depthwise(nn.Module):
    def __init__(self, multiplier=1):
        super().__init__()
        self.up = nn.Conv2d(3, 8, 1)
        self.depth = nn.Conv2d(8, 8 * multiplier, 3, groups=8)
        self.norm = nn.BatchNorm2d(8 * multiplier)
        self.down = nn.Conv2d(8 * multiplier, 4, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        x = F.hardswish(self.norm(self.depth(self.up(x))))
        return self.head(self.down(x).mean((2, 3)))


class Grouped(nn.Module):
    def __init__(self, transposed=False):
        super().__init__()
        self.up = nn.Conv2d(3, 8, 1)
        self.mid = nn.ConvTranspose2d(8, 12, 3) if transposed else nn.Conv2d(8, 12, 3, groups=2)
        self.out = nn.Conv2d(12, 5, 1)

    def forward(self, x):
        return self.out(F.relu(self.mid(F.relu(self.up(x))))).mean((2, 3))


class Joined(nn.Module):
    """Concatenated branches of unlike widths, then split, chunked and sliced."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 8, 1)
        self.norm = nn.BatchNorm2d(12)
        self.c = nn.Conv2d(4, 4, 1)
        self.d, self.e = nn.Conv2d(4, 6, 1), nn.Conv2d(4, 6, 1)
        self.head = nn.Linear(10, 5)
        self.widths = (4, 8)

    def forward(self, x):
        x = F.relu(self.norm(torch.cat([self.a(x), self.b(x)], 1)))
        first, rest = x.split(self.widths, 1)
        one, two = rest.chunk(2, 1)
        y = self.d(one) + self.e(two)
        return self.head(torch.cat([y, self.c(first)], 1).mean((2, 3)))


class Shuffled(nn.Module):
    """A channel shuffle between grouped convolutions."""

    def __init__(self):
        super().__init__()
        self.up = nn.Conv2d(3, 8, 1, groups=1)
        self.one, self.two = nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 8, 1, groups=2)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.one(F.relu(self.up(x)))
        b, c, h, w = x.shape
        x = x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)
        return self.head(self.two(x).mean((2, 3)))


class PixelShuffled(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down, self.head = nn.Conv2d(3, 16, 1), nn.Conv2d(4, 6, 3), nn.Linear(6, 5)

    def forward(self, x):
        return self.head(self.down(F.pixel_shuffle(self.up(x), 2)).mean((2, 3)))


class Tied(nn.Module):
    """One layer used twice."""

    def __init__(self):
        super().__init__()
        self.up, self.both, self.head = nn.Linear(7, 8), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.up(x))
        return self.head(F.relu(self.both(F.relu(self.both(x)))))


class Bare(nn.Module):
    """Parameters that belong to no layer: a scale, a shift over positions, a matrix."""

    def __init__(self):
        super().__init__()
        self.up = nn.Linear(7, 8)
        self.scale = nn.Parameter(torch.randn(8))
        self.place = nn.Parameter(torch.randn(1, 4, 8))
        self.matrix = nn.Parameter(torch.randn(8, 6))
        self.head = nn.Linear(6, 5)

    def forward(self, x):  # [batch, 4, 7]
        return self.head(torch.tanh((self.up(x) * self.scale + self.place) @ self.matrix).mean(1))


class Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(11, 8), nn.Embedding(6, 8)
        self.mix, self.head = nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, tokens):
        x = self.words(tokens) + self.places(torch.arange(tokens.shape[1]))
        return self.head((x + self.mix(F.gelu(x))).mean(1))


class Literal(nn.Module):
    """A size written into the forward by hand: these channels cannot go."""

    def __init__(self):
        super().__init__()
        self.up, self.mid, self.head = nn.Linear(7, 12), nn.Linear(6, 8), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(F.relu(self.mid(F.relu(self.up(x)).view(-1, 2, 6).sum(1))))


class Normed(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.up, self.norm, self.down, self.head = (
            nn.Conv2d(3, 8, 1),
            norm,
            nn.Conv2d(8, 6, 1),
            nn.Linear(6, 5),
        )
        self.channels_first = isinstance(norm, nn.GroupNorm)

    def forward(self, x):
        x = self.up(x)
        y = self.norm(x) if self.channels_first else self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(F.relu(self.down(y)).mean((2, 3)))


def image(batch=2):
    return torch.randn(batch, 3, 6, 6, generator=torch.Generator().manual_seed(7))


def rows(batch=2):
    return torch.randn(batch, 7, generator=torch.Generator().manual_seed(7))


def tokens(batch=2):
    return torch.randn(batch, 4, 7, generator=torch.Generator().manual_seed(7))


def words(batch=2):
    return torch.randint(0, 11, (batch, 6), generator=torch.Generator().manual_seed(7))


def mlp():
    return nn.Sequential(nn.Linear(7, 10), nn.ReLU(), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 5))


def flattened():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16, 6, bias=False), nn.ReLU(), nn.Linear(6, 5),
    )  # fmt: skip


class Added(nn.Sequential):
    """A residual block: its layers add to what they are given."""

    def forward(self, x):
        return x + super().forward(x)


def stack():
    blocks = (Added(nn.Linear(10, 12), nn.ReLU(), nn.Linear(12, 10)) for _ in range(3))
    return nn.Sequential(nn.Linear(7, 10), nn.Sequential(*blocks), nn.Linear(10, 5))


NETWORKS = {
    "mlp": (mlp, rows),
    "stack": (stack, rows),
    "flattened": (flattened, image),
    "residual": (Residual, image),
    "depthwise": (Depthwise, image),
    "depthwise_twice": (lambda: Depthwise(2), image),
    "grouped": (Grouped, image),
    "transposed": (lambda: Grouped(True), image),
    "joined": (Joined, image),
    "shuffled": (Shuffled, image),
    "pixel_shuffled": (PixelShuffled, image),
    "tied": (Tied, rows),
    "bare": (Bare, tokens),
    "embedded": (Embedded, words),
    "heads": (Heads, tokens),
    "grouped_queries": (lambda: Heads(heads=2), tokens),
    "fused": (Fused, tokens),
    "multihead": (Multihead, tokens),
    "layer_norm": (lambda: Normed(nn.LayerNorm(8)), image),
    "rms_norm": (lambda: Normed(nn.RMSNorm(8)), image),
    "group_norm": (lambda: Normed(nn.GroupNorm(2, 8)), image),
    **MORE,
}


def network(name, dtype=torch.float64, seed=0):
    """Return the network as after training (no tensor at its initial value, eval mode) and its inputs."""
    build, inputs = NETWORKS[name] if isinstance(name, str) else name
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        model = build().to(dtype).eval()
        randomise_(model)
    x = inputs()
    return model, x.to(dtype) if x.is_floating_point() else x


def randomise_(model):
    """Draw every norm's weights and statistics, every bias, and whatever is zero."""
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.is_floating_point():
                continue
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.dim() <= 1:
                tensor += 0.5 * torch.randn_like(tensor)
            elif not tensor.any():
                tensor.normal_(0, tensor[0].numel() ** -0.5)
