"""Small networks of every kind that is measured, in float64 and eval mode, drawn from a seed."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn


def mlp(relu=True, widths=(36, 20, 20, 20, 10)):
    layers = [nn.Flatten()]
    for i, (a, b) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(a, b))
        if relu and i < len(widths) - 2:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers), (1, 6, 6)


def lenet(relu=True):
    activation = nn.ReLU if relu else nn.Identity
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), activation(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), activation(), nn.MaxPool2d(2),
        nn.Conv2d(16, 120, 5), activation(), nn.Flatten(),
        nn.Linear(120, 84), activation(), nn.Linear(84, 10),
    ), (1, 32, 32)  # fmt: skip


class Block(nn.Module):
    """A basic residual block; its ReLU works in place, as torchvision's does."""

    def __init__(self, width_in, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        same = width_in == width and stride == 1
        self.short = nn.Identity() if same else nn.Conv2d(width_in, width, 1, stride, bias=False)

    def forward(self, x):
        return self.relu(self.short(x) + self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))


def residual():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        Block(4, 4, 1), Block(4, 8, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics as after training, not 0 and 1
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    return net, (3, 8, 8)


class Vit(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 4, 4)
        self.position = nn.Parameter(torch.randn(1, 5, 12) * 0.1)
        self.token = nn.Parameter(torch.randn(1, 1, 12) * 0.1)
        layer = nn.TransformerEncoderLayer(12, 3, 24, dropout=0.1, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(12, 4)

    def forward(self, x):
        z = self.patches(x).flatten(2).mT
        z = torch.cat([self.token.expand(len(z), -1, -1), z], 1) + self.position
        return self.head(self.encoder(z)[:, 0])


def vit():
    return Vit(), (3, 8, 8)


class Language(nn.Module):
    """Words in, a mapping out, as language models give it."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.mix = nn.GRU(6, 6, batch_first=True)
        self.head = nn.Linear(6, 11)

    def forward(self, words, scale=None):
        h = self.mix(self.embed(words))[0]
        return {"logits": self.head(h if scale is None else h * scale), "words": words}


NETWORKS = {"mlp": mlp, "lenet": lenet, "residual": residual, "vit": vit}


def make(name, samples=3, seed=0, dtype=torch.float64):
    """Return a network of that kind and inputs for it; the global generator is put back."""
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        net, shape = NETWORKS[name]()
        return net.to(dtype).eval(), torch.randn(samples, *shape, dtype=dtype)
