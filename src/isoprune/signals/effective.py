"""A network with plain weights: a copy that shares its tensors, with every computed weight evaluated.

Weights are computed by parametrizations and, in older networks, by hooks that run before each forward: masks
of `torch.nn.utils.prune`, `torch.nn.utils.weight_norm`, `torch.nn.utils.spectral_norm`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from isoprune.graph.cloning import clone_sharing
from isoprune.signals.modes import in_eval_mode

# What a hook computes a weight from: what has its shape, and the rest.
_PARTS = {
    WeightNorm: ("_v", ("_g",)),
    SpectralNorm: ("_orig", ("_u", "_v")),
    BasePruningMethod: ("_orig", ("_mask",)),
}


def effective(model: nn.Module) -> nn.Module:
    """Return a copy in eval mode whose weights are plain parameters of the names that the layers use.

    What nothing computes is shared with ``model``, which is left as it is. A weight that a mask holds is here
    the masked weight, so gradients are those of the weights that the forward works with.
    """
    copy = clone_sharing(model)
    seen: dict[int, nn.Parameter] = {}
    for module in copy.modules():
        module.training = False  # not .eval(), which a user's class may have given another meaning
        for number, hook, key in list(hooks(module)):
            _unhook_(module, number, hook, key, seen)
        if is_parametrized(module):
            _work_out_(module, seen)
    return copy


@dataclass(frozen=True)
class WeightSource:
    """What a ``weight`` (its name) is computed from: ``stands_for`` it, or is a mask, a length, a scale."""

    weight: str
    stands_for: bool


def computed_from(model: nn.Module) -> dict[str, WeightSource]:
    """Return, by its name, every tensor that a weight is computed from."""
    names: dict[str, WeightSource] = {}
    for owner, module in model.named_modules():
        at = f"{owner}." if owner else ""
        for _, hook, key in hooks(module):
            like, others = _parts(hook)
            names[f"{at}{key}{like}"] = WeightSource(f"{at}{key}", True)
            names.update({f"{at}{key}{end}": WeightSource(f"{at}{key}", False) for end in others})
        if is_parametrized(module):
            chains: Any = module.parametrizations
            for key, chain in chains.items():
                shape = _weight(module, key).shape
                for name, part in (*chain.named_parameters(), *chain.named_buffers()):
                    same = name.startswith("original") and part.shape == shape
                    names[f"{at}parametrizations.{key}.{name}"] = WeightSource(f"{at}{key}", same)
    return names


@torch.no_grad()
def _weight(module: nn.Module, key: str) -> Tensor:
    """Return what a parametrization computes in eval mode: in train mode a spectral norm would iterate on."""
    chains: Any = module.parametrizations
    with in_eval_mode(chains[key]):
        return getattr(module, key)


def hooks(module: nn.Module) -> Iterator[tuple[int, Any, str]]:
    """Yield the number of each hook that computes a weight, the hook, and the weight's name."""
    for number, hook in module._forward_pre_hooks.items():
        if isinstance(hook, BasePruningMethod):
            yield number, hook, hook._tensor_name
        elif isinstance(hook, WeightNorm | SpectralNorm):
            yield number, hook, hook.name


def _parts(hook: Any) -> tuple[str, tuple[str, ...]]:
    return next(parts for kind, parts in _PARTS.items() if isinstance(hook, kind))


@torch.no_grad()
def worked_out(module: nn.Module, hook: Any) -> Tensor:
    """Return the weight that a hook will compute in the next forward in eval mode."""
    if isinstance(hook, BasePruningMethod):
        return hook.apply_mask(module)
    if isinstance(hook, SpectralNorm):
        return hook.compute_weight(module, do_power_iteration=False)
    return hook.compute_weight(module)


def _unhook_(module: nn.Module, number: int, hook: Any, key: str, seen: dict[int, nn.Parameter]) -> None:
    like, others = _parts(hook)
    original = id(getattr(module, key + like))
    value = worked_out(module, hook).detach().clone()
    vars(module).pop(key, None)
    for end in (like, *others):
        module._parameters.pop(key + end, None)
        module._buffers.pop(key + end, None)
    del module._forward_pre_hooks[number]
    parameter = nn.Parameter(value, requires_grad=value.is_floating_point())
    module.register_parameter(key, seen.setdefault(original, parameter))


@torch.no_grad()
def _work_out_(module: nn.Module, seen: dict[int, nn.Parameter]) -> None:
    # torch's remove_parametrizations writes into the original tensor, which is the user's.
    chains: Any = module.parametrizations
    values = {name: _weight(module, name).detach() for name in chains}
    originals = {name: id(getattr(chain, "original", chain)) for name, chain in chains.items()}
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    for name, value in values.items():
        # Tied weights stay tied: several modules then work out the same original.
        parameter = nn.Parameter(value, requires_grad=value.is_floating_point())
        module.register_parameter(name, seen.setdefault(originals[name], parameter))
    if isinstance(module, nn.RNNBase):
        module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]
