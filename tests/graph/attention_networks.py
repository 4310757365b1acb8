"""Small networks with attention: by hand, by torch's function, and by torch's layer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn


class Heads(nn.Module):
    """Attention by hand; the scale from the width of a head, or from `scale`."""

    def __init__(self, dim=16, heads=4, width=4, queries=4):
        super().__init__()
        self.heads, self.kv, self.width = queries, heads, width
        self.up = nn.Linear(7, dim)
        self.q, self.k, self.v = nn.Linear(dim, queries * width), nn.Linear(dim, heads * width), nn.Linear(
            dim, heads * width
        )  # fmt: skip
        self.out, self.head = nn.Linear(queries * width, dim), nn.Linear(dim, 5)

    def forward(self, x):  # [batch, tokens, 7]
        x = self.up(x)
        b, n, _ = x.shape
        q = self.q(x).view(b, n, self.heads, self.width).transpose(1, 2)
        k = self.k(x).view(b, n, self.kv, self.width).transpose(1, 2)
        v = self.v(x).view(b, n, self.kv, self.width).transpose(1, 2)
        if self.kv != self.heads:
            k, v = (t.repeat_interleave(self.heads // self.kv, 1) for t in (k, v))
        weights = (q @ k.transpose(-2, -1) / self.width**0.5).softmax(-1)
        y = (weights @ v).transpose(1, 2).reshape(b, n, self.heads * self.width)
        return self.head((x + self.out(y)).mean(1))


class Fused(nn.Module):
    """q, k and v in one projection, torch's fused attention with the scale that it takes itself."""

    def __init__(self, dim=16, heads=4):
        super().__init__()
        self.num_heads, self.head_dim = heads, dim // heads
        self.up, self.qkv, self.proj = nn.Linear(7, dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 5)

    def forward(self, x):
        x = self.up(x)
        b, n, _ = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, n, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, -1)
        return self.head((x + self.proj(y)).mean(1))


class Multihead(nn.Module):
    """torch's own attention layer."""

    def __init__(self):
        super().__init__()
        self.up, self.attention = nn.Linear(7, 16), nn.MultiheadAttention(16, 4, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.up(x)
        return self.head((x + self.attention(x, x, x, need_weights=False)[0]).mean(1))
