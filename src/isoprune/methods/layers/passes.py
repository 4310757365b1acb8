"""Forwards that change a network's layers as they come to them: a layer reads what the changed ones make."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from isoprune.methods.layers.norms import take_statistics_
from isoprune.methods.layers.probe import sites
from isoprune.methods.layers.weights import Weight, weights
from isoprune.signals.matrices import LAYERS
from isoprune.signals.modes import in_eval_mode
from isoprune.types import IsopruneError
from isoprune.types.task import forward


@dataclass(frozen=True)
class LinearLayer:
    """A layer whose output is linear in ``weight`` (plus its bias).

    ``module`` is what runs: the layer itself, or the attention of which the weight is the output projection.
    """

    name: str
    module: nn.Module
    weight: Weight

    @torch.no_grad()
    def scale_(self, factor: float | Tensor, *, bias: float | Tensor = 1.0) -> None:
        """Multiply the filters by ``factor``, and the bias by ``bias``: one number, or one a filter."""
        W = self.weight.matrices
        each = torch.as_tensor(factor, dtype=W.dtype, device=W.device).expand(W.shape[0] * W.shape[1])
        self.weight.write_(W * each.view(*W.shape[:2], 1))
        b = self.weight.bias
        if b is not None:
            self.weight.write_bias_(b * torch.as_tensor(bias, dtype=b.dtype, device=b.device))


@dataclass(frozen=True)
class Reached:
    """A layer that the forward has come to: what it reads, and what it makes with its weight as it is now."""

    layer: LinearLayer
    read: Tensor
    run: Callable[[], Any]

    def made(self) -> Tensor:
        """Return the layer's output, [points, channels], in float64.

        Raises:
            IsopruneError: If it is not finite.
        """
        out = self.run()
        out = out[0] if isinstance(out, tuple) else out
        channels = -1 if isinstance(self.layer.module, (nn.Linear, nn.MultiheadAttention)) else 1
        out = out.movedim(channels, -1).flatten(0, -2).double()
        if not bool(out.isfinite().all()):
            raise IsopruneError(
                f"{self.layer.name}: its output on the data holds NaN or infinity. Check the inputs, and the "
                "weights: training may have diverged (lower its lr)."
            )
        return out


def layers_with_output(model: nn.Module) -> list[LinearLayer]:
    """Return the Linear, convolution and attention layers, in order of registration; masks are kept."""
    projections = {
        id(m.out_proj): (name, m) for name, m in model.named_modules() if isinstance(m, nn.MultiheadAttention)
    }
    found = []
    for weight in weights(model):
        if isinstance(weight.module, LAYERS):
            # An attention uses its projection's weight without running the projection.
            name, module = projections.get(id(weight.module), (weight.name, weight.module))
            found.append(LinearLayer(name, module, weight))
    return found


@torch.no_grad()
def sweep_(model: nn.Module, inputs: Any, visit: Callable[[Reached], None], *, settle: bool = False) -> None:
    """Run ``model`` on all ``inputs`` at once; ``visit`` each layer when it first runs, and go on from there.

    What comes after a layer sees its output after the visit. A layer that does not run is not visited.

    Args:
        settle: Whether each BatchNorm takes the mean and variance of what it first reads as its statistics.

    Cost: one forward, and one more of every layer.
    """
    seen: set[int] = set()
    with in_eval_mode(model), contextlib.ExitStack() as stack:
        for layer in layers_with_output(model):

            def reached(
                module: nn.Module, args: Any, kwargs: dict[str, Any], _out: Any, layer: LinearLayer = layer
            ) -> Any:
                if id(layer) in seen:  # a later run, or one that a visit asked for
                    return None
                seen.add(id(layer))
                visit(Reached(layer, args[0], lambda: module(*args, **kwargs)))
                return module(*args, **kwargs)

            stack.callback(layer.module.register_forward_hook(reached, with_kwargs=True).remove)
        for module in model.modules():
            if settle and isinstance(module, _BatchNorm) and module.track_running_stats:

                def read(norm: Any, args: Any) -> None:
                    if id(norm) not in seen:
                        seen.add(id(norm))
                        _settle_(norm, args[0])

                stack.callback(module.register_forward_pre_hook(read).remove)
        forward(model, inputs)


def scale_layers_(
    model: nn.Module, inputs: Any, factors: Mapping[str, float], *, biases: bool, settle: bool = False
) -> None:
    """Multiply layers' weights by ``factors`` (by layer name); the rest of the network is rescaled to fit.

    With ``biases`` a layer's bias grows as the rest of its output does: by the factor, times what the input
    has grown by. Through ReLU, pooling and the like the network's function is then multiplied by a number.
    Without, biases stay, but for layers that a BatchNorm reads.

    A BatchNorm right behind a layer keeps its function: its mean and variance grow along (or ``settle``).
    """
    norms = {} if settle else norms_behind(model, inputs)
    before: dict[str, Tensor] = {}
    sweep_(model, inputs, lambda at: before.update({at.layer.name: _power(at.read)}))

    def scale(at: Reached) -> None:
        factor = factors.get(at.layer.name, 1.0)
        was = before[at.layer.name]
        grown = factor * float((_power(at.read) / was).sqrt()) if was > 0 else factor
        norm = norms.get(at.layer.name)
        if isinstance(norm, _BatchNorm):
            at.layer.scale_(factor, bias=factor)
            if norm.running_mean is not None and norm.running_var is not None:
                norm.running_mean.mul_(factor)
                norm.running_var.mul_(factor**2)
        else:
            at.layer.scale_(factor, bias=grown if biases else 1.0)

    sweep_(model, inputs, scale, settle=settle)


@torch.no_grad()
def norms_behind(model: nn.Module, inputs: Any) -> dict[str, nn.Module]:
    """Return the BatchNorm that reads each layer's output as it is, by layer name."""
    layers = {layer.name: layer.module for layer in layers_with_output(model)}
    plain = {name: m for name, m in layers.items() if not isinstance(m, nn.MultiheadAttention)}
    with in_eval_mode(model):
        found = sites(model, inputs, plain)
    return {site.name: model.get_submodule(site.norm) for site in found if site.norm is not None}


def _settle_(norm: _BatchNorm, x: Tensor) -> None:
    dims = [d for d in range(x.ndim) if d != 1]
    if x.numel() > x.shape[1]:  # one value a channel has no variance
        variance, mean = torch.var_mean(x.double(), dim=dims)
        take_statistics_(norm, mean, variance)


def _power(x: Tensor) -> Tensor:
    return x.double().square().sum()
