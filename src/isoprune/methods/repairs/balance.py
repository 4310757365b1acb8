"""The same function with the sharpness of its layers evened out: a rescaling that changes no output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils._pytree import tree_map_only

from isoprune.graph.cloning import copied
from isoprune.graph.outputs import tensors_in
from isoprune.methods.repairs.probe import sites
from isoprune.methods.repairs.stored import differentiable, write_
from isoprune.methods.repairs.weights import Weight, weights
from isoprune.pruning.pruned import Pruned
from isoprune.signals.matrices import CONVOLUTIONS
from isoprune.signals.modes import in_eval_mode
from isoprune.signals.samples import joined
from isoprune.signals.signals import Signals
from isoprune.types.method import method
from isoprune.types.task import forward
from isoprune.types.units import DEPTH, GRAINS

_OUTPUTS = 16  # up to so many each is pulled back
_DIRECTIONS = 4  # beyond, so many random sums of them
_PROBE = 2.0  # the factor by which two layers are scaled to see whether that changes the outputs
_SAME = 1e-9  # relative, in float64


@method("repair", "data", grains=(*GRAINS, DEPTH))
def balance(pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = 16) -> nn.Module:
    r"""Return a copy that computes the same, its layers scaled so that none is sharper than the others.

    In a chain of layers with nothing between them but what is positively homogeneous (ReLU, pooling,
    reshapes), layer l may be multiplied by :math:`c_l` with :math:`\prod c_l = 1`. The Gauss-Newton trace of
    layer l, :math:`T_l = E\,\|\partial y / \partial W_l\|_F^2`, then becomes :math:`T_l / c_l^2`, and their
    sum is least where all are equal: :math:`c_l^2 = T_l / (\prod_k T_k)^{1/n}`, in closed form. The largest
    rate at which gradient descent is stable goes with the inverse of the sharpness, so a repair that had to
    make some layer's weights long can then be retrained at the rates of the dense network.

    Chains are found by trying: two layers, one after the other, belong to one if doubling the first and
    halving the second changes no output. A layer with a BatchNorm behind it has no scale and is left out.

    Args:
        samples: How many inputs the traces are averaged over.

    Cost: a forward per layer, a backward per sample and output (beyond 16 outputs, of four random sums).
    Memory: a copy of the network, one more in float64; the graph of one sample, and a gradient of the
    weights.
    """
    inputs = list(signals.chunks(samples, chunk=1))
    repaired = copied(pruned.model)
    with in_eval_mode(repaired):
        for chain in _chains(repaired, inputs):
            traces = _traces(repaired, inputs, chain, generator)
            if min(traces) > 0:
                mean = math.exp(sum(map(math.log, traces)) / len(traces))
                scale_(chain, [math.sqrt(t / mean) for t in traces])
    return repaired


@torch.no_grad()
def scale_(chain: Sequence[Weight], factors: Sequence[float]) -> None:
    """Multiply each layer of a chain by its factor; a bias by all factors up to its layer, in place."""
    total = 1.0
    for weight, factor in zip(chain, factors, strict=True):
        total *= factor
        write_(weight.module, weight.key, weight.parameter * factor)
        if weight.bias is not None:
            weight.write_bias_(weight.bias * total)


def _chains(model: nn.Module, inputs: Sequence[Any]) -> list[list[Weight]]:
    """Return the runs of two or more layers, in order of execution, whose scales can be exchanged."""
    found = {w.name: w for w in weights(model) if isinstance(w.module, (nn.Linear, *CONVOLUTIONS))}
    order = sites(model, inputs[0], {name: w.module for name, w in found.items()})
    free = [found[site.name] for site in order if site.norm is None]
    chains = [[weight] for weight in free[:1]]
    for before, after in pairwise(free):
        if _exchange(model, joined(inputs[:4]), before.name, after.name):
            chains[-1].append(after)
        else:
            chains.append([after])
    return [chain for chain in chains if len(chain) > 1]


@torch.no_grad()
def _exchange(model: nn.Module, inputs: Any, first: str, second: str) -> bool:
    """Return whether doubling one layer, bias and all, and halving the other's weight leaves the outputs."""
    tried = copied(model).double()
    x = tree_map_only(Tensor, lambda t: t.double() if t.is_floating_point() else t, inputs)
    want = list(tensors_in(forward(tried, x)))
    pair = {w.name: w for w in weights(tried)}
    scale_([pair[first], pair[second]], [_PROBE, 1 / _PROBE])
    made = tensors_in(forward(tried, x))
    return all(bool((a - b).abs().max() <= _SAME * b.abs().max()) for a, b in zip(made, want, strict=True))


def _traces(
    model: nn.Module, inputs: Sequence[Any], chain: Sequence[Weight], generator: Generator
) -> list[float]:
    """Return the mean over samples of the squared norm of the outputs' gradient, weight by weight."""
    # Gradients are asked for explicitly: nothing is accumulated anywhere.
    leaves = [w.parameter for w in chain]
    total = torch.zeros(len(leaves), dtype=torch.float64)
    with differentiable(*leaves):
        for x in inputs:
            y = torch.cat([t.flatten() for t in tensors_in(forward(model, x)) if t.requires_grad])
            for u in _directions(len(y), generator).to(y):
                grads = torch.autograd.grad(y, leaves, u, retain_graph=True)
                total += torch.stack([g.double().square().sum().cpu() for g in grads])
    return (total / len(inputs)).tolist()


def _directions(outputs: int, generator: Generator) -> Tensor:
    if outputs <= _OUTPUTS:
        return torch.eye(outputs, dtype=torch.float64)
    drawn = torch.randn(_DIRECTIONS, outputs, generator=generator, dtype=torch.float64)
    return drawn * math.sqrt(1 / _DIRECTIONS)
