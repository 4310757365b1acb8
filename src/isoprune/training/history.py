"""Each weight's history in a training: its first value, and how much it lowered the loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from isoprune.types import IsopruneError


class History:
    r"""Gathers along a training the start of every weight and :math:`-\sum_t g_t\, \Delta w_t`.

    g is the gradient that the optimizer steps by and :math:`\Delta w` what the step changes, whatever the
    optimizer: with small steps the sum is by how much the weight's own moves have lowered the loss. Memory:
    three copies of the weights while a step is taken, two between.

    Attributes:
        start: Weights when the history was made, by name.
        gained: The sums, by name, in float64.
    """

    def __init__(self, model: nn.Module) -> None:
        named = {name: p.detach() for name, p in model.named_parameters() if p.is_floating_point()}
        self.start: dict[str, Tensor] = {name: p.clone() for name, p in named.items()}
        self.gained = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in named.items()}

    def watch(self, optimizer: Optimizer) -> Optimizer:
        """Follow every step of an optimizer over the parameters of the network, or of a copy, in their order.

        Raises:
            IsopruneError: If its parameters are not those of the network.
        """
        parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
        if [tuple(p.shape) for p in parameters] != [tuple(w.shape) for w in self.start.values()]:
            raise IsopruneError(
                f"The optimizer steps {len(parameters)} tensors, and they are not the {len(self.start)} "
                "parameters of the history's network in their order. Make it of model.parameters()."
            )
        before: list[Tensor] = []

        def keep(_: Optimizer, __: Any, ___: Any) -> None:
            before[:] = [p.detach().clone() for p in parameters]

        def add(_: Optimizer, __: Any, ___: Any) -> None:
            for name, p, old in zip(self.start, parameters, before, strict=True):
                if p.grad is not None:
                    self.gained[name] -= (p.grad.double() * (p.detach() - old)).to(self.gained[name])
            before.clear()

        optimizer.register_step_pre_hook(keep)
        optimizer.register_step_post_hook(add)
        return optimizer
