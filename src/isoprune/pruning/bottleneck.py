"""Layers taken apart into three that compute the same: into a basis, within it, and back out."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isoprune.types import IsopruneError

_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Bases:
    """Orthogonal bases of what a layer reads and makes, a vector a column."""

    inputs: Float[Tensor, "inputs inputs"]
    outputs: Float[Tensor, "outputs outputs"]

    def rotated(self, weight: Tensor) -> Tensor:
        r"""Return :math:`Q_g^\top W Q_a`, tap by tap of a convolution; in the bases' type."""
        return torch.einsum("og,oi...,ia->ga...", self.outputs, weight.to(self.outputs), self.inputs)


def can_be_taken_apart(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that can be, by name: plain Linear layers and convolutions without groups.

    Not those whose weight another module uses too or something computes, the ones within an attention, which
    reads their weights itself, and those with hooks.
    """
    uses: dict[int, int] = {}
    for module in model.modules():
        for p in module._parameters.values():
            uses[id(p)] = uses.get(id(p), 0) + 1
    within = {
        id(part) for m in model.modules() if isinstance(m, nn.MultiheadAttention) for part in m.modules()
    }
    return {
        name: m
        for name, m in model.named_modules()
        if name
        and type(m) in _KINDS
        and getattr(m, "groups", 1) == 1
        and "weight" in m._parameters
        and uses[id(m.weight)] == 1
        and id(m) not in within
        and not (m._forward_hooks or m._forward_pre_hooks)
    }


def taken_apart(model: nn.Module, bases: Mapping[str, Bases]) -> nn.Module:
    """Return a copy in which each of these layers is three, ``name.0`` to ``name.2``: the same function.

    The first turns what is read into the basis of inputs, place by place; the second has the kernel, the
    stride and the padding; the third turns back, and has the bias.

    Raises:
        IsopruneError: For a layer that cannot be taken apart.
    """
    out = copy.deepcopy(model)
    known = can_be_taken_apart(out)
    for name, basis in bases.items():
        if name not in known:
            raise IsopruneError(f"{name} cannot be taken apart: it is no plain Linear layer or convolution.")
        layer, three = known[name], _three(known[name], basis)
        for parent in list(out.modules()):  # the same layer may stand in several places
            for place, child in parent._modules.items():
                if child is layer:
                    parent._modules[place] = three
    return out


def _three(layer: nn.Module, basis: Bases) -> nn.Sequential:
    weight = layer._parameters["weight"]
    assert weight is not None
    bias = layer._parameters["bias"]
    core = copy.deepcopy(layer)
    core._parameters["bias"] = None
    first, last = _turn(layer, basis.inputs.mT, None), _turn(layer, basis.outputs, bias)
    core._parameters["weight"] = nn.Parameter(basis.rotated(weight.detach()).to(weight), weight.requires_grad)
    three = nn.Sequential(first, core, last)
    for module in three.modules():
        module.training = layer.training
    return three


def _turn(layer: nn.Module, Q: Tensor, bias: nn.Parameter | None) -> nn.Module:
    kind, weight = type(layer), layer._parameters["weight"]
    assert weight is not None
    sizes = Q.shape if kind is nn.Linear else (*Q.shape, 1)
    turn = torch.nn.utils.skip_init(kind, *sizes, bias=False, device=weight.device, dtype=weight.dtype)
    matrix = Q.to(weight).reshape(*Q.shape, *(1 for _ in weight.shape[2:])).contiguous()
    turn._parameters["weight"], turn._parameters["bias"] = nn.Parameter(matrix, weight.requires_grad), bias
    return turn
