"""Functions and classes of another file that decide by what they take out of a tensor."""

from __future__ import annotations

import numpy as np
from torch import nn


def mean_is_large(x):
    return x.mean().numpy() > 0.1


def is_wide(x):
    values = np.asarray(x)
    between = values.max() - values.min()
    return bool(between > 5)


def many_are_large(x):
    n = len(x[x > 1])
    return n > 4


def statistics_of(x):
    found = {}
    found["mean"] = float(x.mean())
    found["std"] = float(x.std())
    return found


class Gate:
    """Keeps what it has read, and decides by it in another method."""

    def __init__(self, threshold):
        self.threshold = threshold

    def __call__(self, x):
        self.value = x.mean().numpy()
        return self.passes()

    def passes(self):
        return self.value > self.threshold


class GateModule(nn.Module):
    def forward(self, x):
        self.value = float(x.mean())
        return self.passes()

    def passes(self):
        return self.value > 0.1


def many_samples(x):
    return len(x) > 2


def _at_least_three(x):
    return x.shape[0] >= 3


def many_rows(x):
    return _at_least_three(x)
