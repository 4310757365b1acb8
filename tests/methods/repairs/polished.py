"""What tests of polish share: a small network, its batches, one call, and KL the slow way."""

from __future__ import annotations

import torch
from repair_networks import mlp, seeded
from torch import Generator

import isoprune
from isoprune.methods.repairs import polish
from isoprune.signals.signals import Signals
from isoprune.types.methods import Repaired


def labelled(x):
    return [(part, torch.zeros(len(part), dtype=torch.long)) for part in x.split(32)]


def small(x, ratio=0.5, build=lambda: mlp(6, 16, 12, 4)):
    return isoprune.prune(seeded(build), x[:2], ratio)


def call(result, batches, *, seed=0, repair=polish, task=None, **options):
    signals = Signals(result.model, batches) if task is None else Signals(result.model, batches, task)
    return Repaired.of(repair(result, signals, generator=Generator().manual_seed(seed), **options))


@torch.no_grad()
def kl(network, dense, x):
    """Slow reference: the mean over samples of sum p log(p / q)."""
    p, q = dense(x).softmax(1), network(x).softmax(1)
    return float((p * (p / q).log()).sum() / len(x))
