"""How fast each layer's weights change under a random loss, and factors that make it one rate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, Tensor, nn

from isoprune.graph.outputs import tensors_in
from isoprune.methods.repairs.passes import LinearLayer, layers_with_output, scale_layers_
from isoprune.methods.repairs.stored import differentiable
from isoprune.signals.modes import in_eval_mode
from isoprune.signals.samples import cut
from isoprune.types import IsopruneError
from isoprune.types.task import forward, samples_in

_PARTS = 32  # of the samples: within one, gradients are summed before they are squared
_DAMPING = 0.5  # of the paper's correction; one is exact on a chain and may swing elsewhere
_CLOSE = 0.02  # of the rates' logarithms


def equalise_(model: nn.Module, inputs: Any, sweeps: int, *, generator: Generator) -> None:
    r"""Scale layers until all have one change rate; the factors' product is one.

    A layer's rate is :math:`C = \mathrm{mean}_j \sqrt{\mathrm{mean}_i E[(\partial \ell / \partial
    W_{ij})^2]} / \|W\|`, with i over filters and j over what they read, under the loss :math:`\ell = \eta
    \cdot y`, :math:`\eta` normal, of the network's output y. Scaling a layer by s, and the others so that
    signals behind stay, divides its rate by :math:`s^2`: so layer l gets :math:`(C_l / \bar C)^{a / 2}`, with
    the geometric mean over layers and a damping a of 1/2, again and again. Biases grow with the signal.

    BatchNorm statistics are taken anew. A layer without gradient stays out.
    """
    with in_eval_mode(model):
        layers = {layer.name: layer for layer in layers_with_output(model)}
        noise = _noise(model, inputs, generator)
        for _ in range(sweeps):
            rates = change_rates(model, inputs, layers, noise)
            logs = {name: math.log(rate) for name, rate in rates.items() if rate > 0}
            if not logs:
                return
            mean = sum(logs.values()) / len(logs)
            if max(abs(log - mean) for log in logs.values()) < _CLOSE:
                return
            factors = {name: math.exp(_DAMPING / 2 * (log - mean)) for name, log in logs.items()}
            scale_layers_(model, inputs, factors, biases=True, settle=True)


def change_rates(
    model: nn.Module, inputs: Any, layers: dict[str, LinearLayer], noise: Tensor
) -> dict[str, float]:
    """Return the change rate of each layer, 0 without gradient; ``noise`` is that of the loss.

    Gradients of a few samples are summed and then squared: with noise of mean 0 that is independent between
    samples, the expectation is that of the sum of squares.
    """
    stored = {name: layer.weight.parameter for name, layer in layers.items()}
    sums = {name: torch.zeros_like(layer.weight.matrices) for name, layer in layers.items()}
    with differentiable(*stored.values()):
        part = math.ceil(len(noise) / _PARTS)
        for start in range(0, len(noise), part):
            stop = min(start + part, len(noise))
            loss = (_output(model, cut(inputs, start, stop)) * noise[start:stop]).sum()
            grads = torch.autograd.grad(loss, list(stored.values()), allow_unused=True)
            for (name, layer), grad in zip(layers.items(), grads, strict=True):
                if grad is not None:
                    sums[name] += layer.weight.arranged(grad).to(sums[name]).square()
    rates = {}
    for name, layer in layers.items():
        size = float(layer.weight.matrices.norm())
        column = (sums[name] / len(noise)).mean(1).sqrt().mean()
        rates[name] = float(column) / size if size > 0 else 0.0
    return rates


def _noise(model: nn.Module, inputs: Any, generator: Generator) -> Tensor:
    with torch.no_grad():
        y = _output(model, cut(inputs, 0, 1))
    shape = (samples_in(inputs), *y.shape[1:])
    return torch.randn(shape, generator=generator, device=generator.device).to(y)


def _output(model: nn.Module, x: Any) -> Tensor:
    first = next(tensors_in(forward(model, x)), None)
    if first is None:
        raise IsopruneError(f"{type(model).__name__} gives no tensor of floats, so there is no loss on it.")
    return first
