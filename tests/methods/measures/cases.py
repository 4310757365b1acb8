"""Small networks in float64, data for them, and what a measure says of them."""

from __future__ import annotations

import copy
import functools
from dataclasses import replace

import torch
from torch import nn

import isoprune
from isoprune.methods.measures import MEASURES
from isoprune.pruning.pruned import as_pruned


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def drawn(*layers):
    """Return layers in a chain, in float64 and eval mode, no parameter at its initial value."""
    net = nn.Sequential(*layers).double().eval()
    for i, tensor in enumerate([*net.parameters(), *net.buffers()]):
        if tensor.is_floating_point():
            noise = draw(*tensor.shape, seed=i)
            tensor.data = noise.abs() + 0.5 if tensor.ndim == 1 else noise / tensor[0].numel() ** 0.5
    return net


def mlp():
    return drawn(nn.Linear(5, 6), nn.Tanh(), nn.BatchNorm1d(6), nn.Linear(6, 3))


def data(samples=12, features=5, classes=3):
    return draw(samples, features, seed=90), torch.arange(samples) % classes


def chain(*weights):
    """Return Linear layers without biases with these weights."""
    layers = [nn.Linear(*w.shape[::-1], bias=False) for w in weights]
    for layer, w in zip(layers, weights, strict=True):
        layer.weight = nn.Parameter(w.double())
    return nn.Sequential(*layers).eval()


def with_dense(network, dense):
    """Return a network as if pruning had made it of another one."""
    return replace(as_pruned(network), dense=copy.deepcopy(dense))


def found(network, name, *batches, task=isoprune.types.CLASSIFICATION, seed=0, **options):
    """Return all that a measure says; a refusal fails."""
    measure = functools.partial(MEASURES[name], **options)
    got = isoprune.measures(network, list(batches), names=[measure], task=task, seed=seed)
    assert not got.refused, got.refused
    return got.numbers


def number(network, name, *batches, **options):
    """Return the one number that a measure gives."""
    (value,) = found(network, name, *batches, **options).values()
    return value


def refusal(network, name, *batches, task=isoprune.types.CLASSIFICATION, **options):
    measure = functools.partial(MEASURES[name], **options)
    return isoprune.measures(network, list(batches), names=[measure], task=task).refused[name]
