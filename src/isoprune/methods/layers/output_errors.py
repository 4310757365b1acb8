"""What layers read, and how much the network's outputs follow an error in what they make."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn

from isoprune.graph.outputs import tensors_in
from isoprune.methods.layers.probe import as_positions, places, read_at
from isoprune.methods.layers.readers import ReadingLayer
from isoprune.methods.layers.weights import Weight
from isoprune.signals.matrices import CONVOLUTIONS, TRANSPOSED
from isoprune.signals.own_labels import by_classes, drawn_classes, drawn_signs
from isoprune.types import IsopruneError
from isoprune.types.task import Task, forward, samples_in

ROWS = 4  # at least, for each input, where there are as many


@dataclass
class ErrorSums:
    """Sums over samples (and places) for one layer, one entry a block of its weight, in float64."""

    samples: int
    rows: int
    x: Tensor  # [blocks, inputs]
    xx: Tensor  # [blocks, inputs, inputs]
    gg: Tensor  # [blocks, outputs, outputs]: over all places

    @classmethod
    def of(cls, layer: ReadingLayer) -> ErrorSums:
        blocks, outputs, inputs = layer.weight.matrices.shape
        zeros = partial(torch.zeros, dtype=torch.float64)
        return cls(
            0, 0, zeros(blocks, inputs), zeros(blocks, inputs, inputs), zeros(blocks, outputs, outputs)
        )

    def add_read(self, X: Tensor) -> None:
        """Add what the layer read, [samples, places, blocks, inputs]."""
        rows = X.flatten(0, 1).transpose(0, 1).double()
        self.rows += rows.shape[1]
        self.x += rows.sum(1).cpu()
        self.xx += (rows.mT @ rows).cpu()

    def add_slope(self, g: Tensor) -> None:
        """Add slopes of the samples' losses by what the layer made, [samples, places, outputs]."""
        each = g.flatten(0, 1).double().unflatten(1, (len(self.gg), -1)).transpose(0, 1)
        self.gg += (each.mT @ each).cpu()

    def moments(self, intercept: bool) -> tuple[Tensor, Tensor]:
        """Return the mean per row of x, and of its products: about that mean if ``intercept``."""
        mean, second = self.x / self.rows, self.xx / self.rows
        return mean, second - mean[:, :, None] * mean[:, None, :] if intercept else second


# What to take where moments do not fit: each has the memory of a gradient.
OF_GRADIENTS = "criterion 'taylor' or 'fisher'"


def require_memory(layers: Mapping[str, Sequence[ReadingLayer]], gigabytes: float, remedy: str) -> None:
    """Refuse sums that take more memory than they may, before any is made.

    Args:
        layers: Those whose sums are taken, by the name of their weight.
        remedy: What to do instead.

    Raises:
        IsopruneError: If the moments take more than ``gigabytes``.
    """
    sizes = {name: sum(moment_bytes(layer.weight) for layer in several) for name, several in layers.items()}
    if sum(sizes.values()) > gigabytes * 1e9:
        largest = max(sizes, key=lambda name: sizes[name])
        raise IsopruneError(
            f"The moments of what layers read and make take {sum(sizes.values()) / 1e9:.1f} GB, those of "
            f"{largest} alone {sizes[largest] / 1e9:.1f}, more than gigabytes={gigabytes:g}. Raise "
            f"gigabytes, or take {remedy}."
        )


def moment_bytes(weight: Weight) -> int:
    """Return what the moments of what a layer reads and makes take in memory."""
    blocks, outputs, inputs = weight.matrices.shape
    return 3 * 8 * blocks * (outputs**2 + inputs**2)  # sums, their means, and an inverse


def watched_sums(
    network: nn.Module,
    layers: Sequence[ReadingLayer],
    offsets: Mapping[str, Tensor],
    chunks: Sequence[Any],
    task: Task,
    *,
    most: int,
    generator: Generator,
    slopes: bool = True,
) -> dict[str, ErrorSums]:
    r"""Return the sums of ``layers`` over inputs, by their names.

    The slopes are those of :math:`-\log p(y | x)` with y drawn from the network's own p, for a classification
    by cross-entropy: their products are the Fisher matrix, and no label is read. For other tasks they are of
    the outputs times random signs, whose products are :math:`J^\top J`.

    Args:
        offsets: What is added to the outputs of layers, [outputs], by their names.
        most: Places of a map that are looked at in each sample; more where a layer has many inputs.
        slopes: Whether there is a backward pass; without, ``gg`` is zero.

    Raises:
        IsopruneError: If what the network computes is not finite.
    """
    sums = {layer.name: ErrorSums.of(layer) for layer in layers}
    with contextlib.ExitStack() as stack, torch.set_grad_enabled(slopes):
        for name, module in network.named_modules():
            if name in offsets and name not in sums:
                stack.callback(module.register_forward_hook(partial(_shifted, offsets[name])).remove)
        number = sum(map(samples_in, chunks))
        for layer in layers:
            enough = max(most, -(-ROWS * sums[layer.name].x.shape[1] // number))
            hook = partial(_watched, sums[layer.name], offsets.get(layer.name), enough, generator)
            stack.callback(layer.module.register_forward_hook(hook).remove)
        for chunk in chunks:
            for one in sums.values():
                one.samples += samples_in(chunk)
            objective = _objective(forward(network, chunk), task, generator)
            if not bool(objective.isfinite()):
                raise IsopruneError(
                    f"The loss on the data is {objective.item()}. Check the inputs, and the weights: "
                    "training may have diverged (lower its lr)."
                )
            if objective.requires_grad:
                objective.backward()
    return sums


def _shifted(offset: Tensor, module: nn.Module, _args: Any, out: Tensor) -> Tensor:
    at = offset.to(out)
    if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
        at = at.view(-1, *[1] * (out.ndim - 2))
    return out + at


def _watched(
    sums: ErrorSums,
    offset: Tensor | None,
    most: int,
    generator: Generator,
    module: nn.Module,
    args: Any,
    out: Tensor,
) -> Tensor:
    where = places(out, module, most, generator)
    sums.add_read(read_at(args[0].detach(), module, where, out))
    made = out if offset is None else _shifted(offset, module, args, out)
    if not torch.is_grad_enabled():
        return made
    if not made.requires_grad:
        made = made.detach().requires_grad_()
    made.register_hook(lambda g: sums.add_slope(as_positions(g, module)))
    return made.clone()  # the next operation may write into it


def _objective(outputs: Any, task: Task, generator: Generator) -> Tensor:
    """Return what slopes are taken of, summed over samples."""
    if by_classes(task, outputs):
        log_p = torch.log_softmax(outputs, 1)
        return -log_p.gather(1, drawn_classes(log_p, generator)[:, None]).sum()
    total = torch.zeros(())
    for t in tensors_in(outputs):
        total = total + (t * drawn_signs(t, generator)).sum().cpu()
    return total
