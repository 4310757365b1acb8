"""Networks of a user, for `isoprune diagnose`: good ones, and those that cannot be measured."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Conv2d(1, width, 3, padding=1)
        self.b = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.b(self.a(x).relu()).relu().mean((2, 3)))


def with_inputs():
    return Net(), torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(5))


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(200, 180), nn.Linear(180, 160)
        self.example_input_array = torch.randn(3, 200)

    def forward(self, x):
        return self.b(self.a(x).relu())


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(30, 6), nn.Linear(6, 4)
        self.example_input_array = torch.arange(10, 20).view(2, 5)

    def forward(self, words):
        return {"scores": self.head(self.embed(words).mean(1)), "words": words}


class Bad(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.layer = kind, nn.Linear(64, 4)
        if kind == "nan":
            self.layer.weight.data[0, 0] = float("nan")

    def forward(self, x):
        x = x.flatten(1)
        if self.kind == "dropout":
            x = nn.functional.dropout(x, 0.5)
        if self.kind == "detached":
            x = x.detach()
        if self.kind == "coupled":
            x = x - x.mean(0)
        return self.layer(x)


def nan():
    return Bad("nan")


def dropout():
    return Bad("dropout")


def detached():
    return Bad("detached")


def coupled():
    return Bad("coupled")
