"""Multilayer perceptron; the paper's MLP-7 is seven Linear layers, six of them 100 wide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Generator, Tensor, nn

from isoprune.models.checks import activation_named, check_classes, check_sizes
from isoprune.models.draw import drawn


class MLP(nn.Module):
    """Linear layers with an activation between them; ``widths`` runs from input to output."""

    def __init__(self, widths: Sequence[int], activation: type[nn.Module]) -> None:
        super().__init__()
        *hidden, last = pairwise(widths)
        layers = [layer for size in hidden for layer in (nn.Linear(*size), activation())]
        self.net = nn.Sequential(*layers, nn.Linear(*last))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.flatten(1))


def mlp_7(
    in_shape: Sequence[int],
    classes: int,
    *,
    activation: str = "linear",
    width: int = 100,
    depth: int = 7,
    generator: Generator | None = None,
) -> MLP:
    """Return a perceptron of ``depth`` Linear layers with biases, ``width`` wide inside.

    ``activation`` is "linear" (none) or "relu". The module names are the same for both.
    """
    check_classes(classes)
    check_sizes(width=width, depth=depth, inputs=math.prod(in_shape))
    between = activation_named(activation)
    widths = [math.prod(in_shape), *[width] * (depth - 1), classes]
    return drawn(lambda: MLP(widths, between), generator)
