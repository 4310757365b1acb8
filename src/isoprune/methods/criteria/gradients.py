"""Gradients of the loss for criteria that look at data; the model and its `.grad` are left alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from isoprune.graph.trace import clone_sharing
from isoprune.types import Batches, IsopruneError


def sensitivities(
    model: nn.Module, batches: Batches | None, criterion: str, *, by_sample: bool = False
) -> Iterator[tuple[dict[str, Tensor], int]]:
    r"""Yield :math:`w \odot \partial L / \partial w` of every parameter, by batch or sample, and its size.

    L is the mean cross-entropy. The network runs in eval mode: BatchNorm must not couple the samples.

    Raises:
        IsopruneError: If there are no batches, or a loss is not finite.
    """
    dense = clone_sharing(model).eval()
    weights = {name: p.detach().clone().requires_grad_() for name, p in dense.named_parameters()}
    number = 0
    for inputs, targets in batches or ():
        for x, y in (
            zip(inputs.split(1), targets.split(1), strict=True) if by_sample else ((inputs, targets),)
        ):
            loss = cross_entropy(functional_call(dense, weights, (x,)), y)
            if not torch.isfinite(loss):
                raise IsopruneError(
                    f"The loss on batch {number} is {loss.item()}, so '{criterion}' cannot score. "
                    "Training may have diverged: prune an earlier checkpoint."
                )
            found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            yield (
                {
                    name: torch.zeros_like(w) if g is None else w.detach() * g
                    for (name, w), g in zip(weights.items(), found, strict=True)
                },
                len(x),
            )
            number += 1
    if not number:
        raise IsopruneError(
            f"The criterion '{criterion}' looks at data, and batches is empty. "
            "Pass batches=[(inputs, targets), ...], such as a DataLoader of training data."
        )
