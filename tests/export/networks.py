"""Small networks with all that a checkpoint must bring back: sizes, ties, hidden buffers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Convolutions(nn.Module):
    """A residual sum, a depthwise convolution (`groups`), and a buffer that the state dict leaves out."""

    def __init__(self, classes: int = 5, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.each = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.register_buffer("tint", torch.linspace(0.5, 1.5, width)[:, None, None], persistent=False)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu() * self.tint
        x = x + self.each(x).relu()
        return self.head(x.mean((2, 3)))


class Attention(nn.Module):
    """Words in, scores of words out: heads, widths in attributes, an embedding tied to the last layer."""

    def __init__(self, words: int = 11, heads: int = 4, width: int = 6) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.shape = heads, width, (heads, width)
        self.words = nn.Embedding(words, 16)
        self.qkv = nn.Linear(16, 3 * heads * width)
        self.out = nn.Linear(heads * width, 16)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens)
        b, n, _ = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.head(
            self.norm(x + self.out(y.transpose(1, 2).reshape(b, n, self.num_heads * self.head_dim)))
        )


def seeded(make, seed: int = 0) -> nn.Module:
    """Return ``make()`` with weights drawn by ``seed``, BatchNorm's statistics included."""
    model = make().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.normal_(0.3 if "var" not in name else 2, 0.2, generator=generator)
    return model


def images(n: int = 2) -> Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def tokens(n: int = 2) -> Tensor:
    return torch.randint(0, 11, (n, 7), generator=torch.Generator().manual_seed(1))


NETWORKS = {"convolutions": (Convolutions, images), "attention": (Attention, tokens)}


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return everything that holds numbers, by every name that it has."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def bits(model: nn.Module) -> dict[str, tuple]:
    return {
        name: (t.dtype, tuple(t.shape), t.detach().contiguous().reshape(-1).view(torch.uint8).tolist())
        for name, t in tensors(model).items()
    }


class Untranslatable(nn.Module):
    def forward(self, x):
        return torch.linalg.eigvals(x).real
