"""Fresh weights from a generator; torch's global one is left as it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Generator, nn

Network = TypeVar("Network", bound=nn.Module)


def drawn(make: Callable[[], Network], generator: Generator | None) -> Network:
    """Return ``make()``, with the weights that torch would draw if ``generator`` were its global one.

    None leaves them to torch and its global generator.
    """
    if generator is None:
        return make()
    # What torch draws here is thrown away, and its generator put back. (Making the modules on the meta
    # device would draw nothing, but loads sympy, which costs a third of a second at start-up.)
    with torch.random.fork_rng(devices=[]):
        model = make().to(generator.device)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            draw_(module, generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return model


def draw_(module: nn.Linear | nn.Conv2d, generator: Generator) -> None:
    r"""Draw weight and bias uniformly from :math:`\pm 1 / \sqrt{\text{fan\_in}}`, torch's default."""
    # torch writes that bound as Kaiming's with a = sqrt(5); written the same way, the bits are the same.
    nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
    if module.bias is not None:
        bound = 1 / math.sqrt(module.weight[0].numel())
        nn.init.uniform_(module.bias, -bound, bound, generator=generator)
