"""Networks of every kind of layer that repairs know, as after training, in float64."""

from __future__ import annotations

import itertools
from dataclasses import replace

import torch
from torch import nn
from torch.nn.utils import prune

from isoprune.pruning.pruned import as_pruned
from isoprune.signals.signals import Signals
from isoprune.types import Plan
from isoprune.types.methods import Repaired


def seeded(build, seed=0, dtype=torch.float64):
    """Return ``build()`` drawn from the seed, in evaluation mode."""
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        return build().to(dtype).eval()


def every_layer():
    """Return one of each layer; not meant to be run."""
    return nn.ModuleDict(
        {
            "linear": nn.Linear(5, 3),
            "tall": nn.Linear(3, 5),
            "conv1": nn.Conv1d(4, 6, 3),
            "conv2": nn.Conv2d(4, 6, 3),
            "conv3": nn.Conv3d(2, 3, 2),
            "pointwise": nn.Conv2d(4, 6, 1),
            "grouped": nn.Conv2d(4, 8, 3, groups=2),
            "depthwise": nn.Conv2d(4, 4, 3, groups=4),
            "transposed": nn.ConvTranspose2d(6, 4, 3, groups=2),
            "attention": nn.MultiheadAttention(6, 2),
            "cross": nn.MultiheadAttention(6, 2, kdim=4, vdim=5),
        }
    )


def mlp(*widths, activation=nn.ReLU, bias=True):
    layers = [
        part
        for i, (a, b) in enumerate(itertools.pairwise(widths))
        for part in ([activation()] if i else []) + [nn.Linear(a, b, bias=bias)]
    ]
    return nn.Sequential(*layers)


class Summed(nn.Module):
    """A sum, a depthwise and a grouped convolution, no BatchNorm."""

    def __init__(self):
        super().__init__()
        self.stem, self.block = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped, self.head = nn.Conv2d(8, 8, 1, groups=2), nn.Linear(8, 3)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.block(x))
        x = torch.relu(self.grouped(torch.relu(self.depthwise(x))))
        return self.head(x.mean((2, 3)))


def perceptron():
    return mlp(6, 12, 10, 4)


def masked(net, ratio=0.5):
    """Put a magnitude mask on every Linear and convolution, in place."""
    for module in net.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            prune.l1_unstructured(module, "weight", ratio)
    return net


def run(repair, model, seed=0, *, dense=None, plan=None, batches=None, **options):
    """Call a repair; without ``dense`` and ``plan`` as on a network of which nothing is gone."""
    pruned = replace(as_pruned(model), dense=model if dense is None else dense, plan=plan or Plan())
    generator = torch.Generator().manual_seed(seed)
    made = repair(pruned, Signals(model, batches), generator=generator, **options)
    return Repaired.of(made).model


def inputs(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def data(*inputs):
    """Return batches whose targets say nothing."""
    return [(x, torch.zeros(len(x))) for x in inputs]
