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
from isoprune.methods.layers.probe import sites
from isoprune.methods.layers.stored import differentiable, write_
from isoprune.methods.layers.weights import Weight, plain_weights
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
_ALIKE = 1e-3  # of two slopes; sums of terms that cancel are less exact than outputs


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

    Cost: a backward of four samples in float64, a forward per pair of layers that it does not rule out, a
    backward per sample and output (beyond 16 outputs, of four random sums). Memory: a copy of the network,
    one more in float64; the graph of those four samples, and a gradient of the weights.
    """
    inputs = list(signals.chunks(samples, chunk=1))
    repaired = copied(pruned.model)
    with in_eval_mode(repaired):
        chains = _chains(repaired, inputs)
        # Of all chains at once: scaling one changes no other's, as the function stays.
        left = iter(_traces(repaired, inputs, [w for chain in chains for w in chain], generator))
        for chain in chains:
            traces = [next(left) for _ in chain]
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
    found, tried = _layers(model), copied(model).double()
    order = sites(model, inputs[0], {name: w.module for name, w in found.items()})
    free = [site.name for site in order if site.norm is None]
    x = tree_map_only(Tensor, lambda t: t.double() if t.is_floating_point() else t, joined(inputs[:4]))
    pair = _layers(tried)
    slopes = _slopes(tried, x, [pair[name] for name in free])
    want = _made(tried, x)
    chains = [free[:1]]
    for before, after in pairwise(free):
        (both, _), (_, alone) = slopes[before], slopes[after]
        # What can be exchanged is so at first order: one gradient rules most pairs out.
        alike = abs(both - alone) <= _ALIKE * max(abs(both), abs(alone))
        if alike and _exchange(tried, x, want, pair[before], pair[after]):
            chains[-1].append(after)
        else:
            chains.append([after])
    return [[found[name] for name in chain] for chain in chains if len(chain) > 1]


def _layers(model: nn.Module) -> dict[str, Weight]:
    return {w.name: w for w in plain_weights(model) if isinstance(w.module, (nn.Linear, *CONVOLUTIONS))}


def _slopes(model: nn.Module, inputs: Any, layers: Sequence[Weight]) -> dict[str, tuple[float, float]]:
    r"""Return, by layer, the slopes of a sum of the outputs by :math:`\log c`: see `scale_`.

    The first is of c times weight and bias, the second of c times the weight.
    """
    leaves = [t for w in layers for t in (w.parameter, w.bias) if t is not None]
    with differentiable(*leaves):
        y = [t.flatten() for t in tensors_in(forward(model, inputs)) if t.requires_grad]
        # Signs that differ: of a softmax the plain sum has no slope at all.
        total = sum(((torch.arange(len(t)) % 3 - 0.7).to(t) * t).sum() for t in y)
        if not isinstance(total, Tensor):
            return {w.name: (0.0, 0.0) for w in layers}
        grads = torch.autograd.grad(total, leaves, allow_unused=True)
    slope = {
        id(t): 0.0 if g is None else float((t.detach() * g).sum()) for t, g in zip(leaves, grads, strict=True)
    }
    alone = {w.name: slope[id(w.parameter)] for w in layers}
    return {w.name: (alone[w.name] + slope.get(id(w.bias), 0.0), alone[w.name]) for w in layers}


def _exchange(model: nn.Module, x: Any, want: Sequence[Tensor], first: Weight, second: Weight) -> bool:
    """Return whether doubling one layer, bias and all, and halving the other's weight leaves the outputs."""
    scale_([first, second], [_PROBE, 1 / _PROBE])
    made = _made(model, x)
    scale_([first, second], [1 / _PROBE, _PROBE])  # a power of two: to the same bits
    same = [t.shape for t in made] == [t.shape for t in want] and any(t.numel() for t in want)
    pairs = zip(made, want, strict=False)
    return same and all(bool(((a - b).abs() <= _SAME * _largest(b)).all()) for a, b in pairs)


@torch.no_grad()
def _made(model: nn.Module, x: Any) -> list[Tensor]:
    return list(tensors_in(forward(model, x)))


def _largest(t: Tensor) -> float:
    return float(t.abs().max()) if t.numel() else 0.0


def _traces(
    model: nn.Module, inputs: Sequence[Any], layers: Sequence[Weight], generator: Generator
) -> list[float]:
    """Return the mean over samples of the squared norm of the outputs' gradient, weight by weight."""
    # Gradients are asked for explicitly: nothing is accumulated anywhere.
    leaves = [w.parameter for w in layers]
    if not leaves:
        return []
    total = torch.zeros(len(leaves), dtype=torch.float64)
    with differentiable(*leaves):
        for x in inputs:
            y = [t.flatten() for t in tensors_in(forward(model, x)) if t.requires_grad and t.numel()]
            if not y:  # a detector found nothing
                continue
            y = torch.cat(y)
            for u in _directions(len(y), generator).to(y):
                how = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
                grads = torch.autograd.grad(y, leaves, u, **how)
                total += torch.stack([g.double().square().sum().cpu() for g in grads])
    return (total / len(inputs)).tolist()


def _directions(outputs: int, generator: Generator) -> Tensor:
    if outputs <= _OUTPUTS:
        return torch.eye(outputs, dtype=torch.float64)
    drawn = torch.randn(_DIRECTIONS, outputs, generator=generator, dtype=torch.float64)
    return drawn * math.sqrt(1 / _DIRECTIONS)
