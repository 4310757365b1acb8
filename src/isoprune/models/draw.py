"""Fresh weights from a generator; torch's global one is left as it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from torch import Generator, nn

from isoprune.types.seeded import lent_generators

Module = TypeVar("Module", bound=nn.Module)
Draw = Callable[[nn.Linear | nn.Conv2d, Generator | None], None]


def drawn(make: Callable[[], Module], generator: Generator | None, draw: Draw | None = None) -> Module:
    """Return ``make()`` with every Linear and convolution drawn by ``draw``, BatchNorm at one and zero.

    Without ``draw`` they are those that torch would draw if ``generator`` were its global one; without
    ``generator`` it is.
    """
    if generator is None and draw is None:
        return make()
    model = undrawn(make)
    if generator is not None:
        model.to(generator.device)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            (draw or draw_)(module, generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return model


def undrawn(make: Callable[[], Module]) -> Module:
    """Return ``make()`` with weights that the caller will set."""
    # What torch draws here is thrown away, and its generator put back. (Making the modules on the meta
    # device would draw nothing, but loads sympy, which costs a third of a second at start-up.)
    with lent_generators():
        return make()


def kaiming_(module: nn.Linear | nn.Conv2d, generator: Generator | None) -> None:
    r"""Draw the weight from :math:`N(0, 2 / \text{fan\_in})`, the bias zero (He, Zhang, Ren & Sun, 2015)."""
    nn.init.kaiming_normal_(module.weight, generator=generator)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def kaiming_fan_out_(module: nn.Linear | nn.Conv2d, generator: Generator | None) -> None:
    r"""Draw convolutions from :math:`N(0, 2 / \text{fan\_out})` and the rest by torch's default.

    What torchvision's residual networks start from.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
    else:
        draw_(module, generator)


def draw_(module: nn.Linear | nn.Conv2d, generator: Generator | None) -> None:
    r"""Draw weight and bias uniformly from :math:`\pm 1 / \sqrt{\text{fan\_in}}`, torch's default."""
    # torch writes that bound as Kaiming's with a = sqrt(5); written the same way, the bits are the same.
    nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
    if module.bias is not None:
        bound = 1 / math.sqrt(module.weight[0].numel())
        nn.init.uniform_(module.bias, -bound, bound, generator=generator)
