"""A plan made real without changing a shape: units are held at zero by a parametrization of their tensors.

``module.weight`` is then computed from ``module.parametrizations.weight.original``, which is what an
optimizer sees: no gradient reaches what is masked, so no momentum and no weight decay brings it back,
whatever loop trains the network. The mask is a buffer: a state dict has it, and copies and ONNX files too.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from isoprune.graph import Graph
from isoprune.graph.cloning import copied, tensor_names
from isoprune.graph.labels import keep_mask
from isoprune.pruning.grains import read_grain
from isoprune.types import IsopruneError, Plan, Units


class Mask(nn.Module):
    """Elements that are not ``kept`` (bool, of the tensor's shape) are zero, and get no gradient.

    ``order`` are the names of the module's parameters, in the order that they get back when it is hardened.
    """

    kept: Tensor

    def __init__(self, kept: Tensor, order: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.register_buffer("kept", kept)
        self.order = order

    def forward(self, tensor: Tensor) -> Tensor:
        # Not a product: NaN or infinity times zero would not be zero.
        return torch.where(self.kept, tensor, torch.zeros((), dtype=tensor.dtype, device=tensor.device))

    def right_inverse(self, tensor: Tensor) -> Tensor:
        return self(tensor)


def element_masks(graph: Graph, plan: Plan, units: tuple[Units, ...]) -> dict[str, Tensor]:
    """Return, by the name of every tensor that loses something, which of its elements stay (bool)."""
    masks: dict[str, Tensor] = {}
    if read_grain(plan.grain).whole:
        kept = graph.kept_ids(plan)
        for name, (planes, shape) in graph.tensors.items():
            if (mask := keep_mask(planes, kept)) is not None:
                masks[name] = mask.expand(shape).clone()
        return masks
    for one in units:
        if one.name not in plan.kept:
            continue
        for member in one.members:
            kept = plan.kept[one.name]
            shape = graph.tensors[member.tensor][1]
            mask = kept if member.unit is None else kept.flatten()[member.unit].expand(shape).clone()
            masks[member.tensor] = masks[member.tensor] & mask if member.tensor in masks else mask
    return {name: mask for name, mask in masks.items() if not bool(mask.all())}


def masked(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of ``model`` with these elements (by tensor name, bool, True stays) held at zero.

    Buffers need no mask (BatchNorm's statistics of a dead channel are multiplied with a weight of zero).

    Raises:
        IsopruneError: For a tensor that torch cannot parametrize, named.
    """
    out = copy.deepcopy(model)
    mask_(out, masks)
    return out


def mask_(out: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Hold elements of ``out`` at zero as `masked` does; parameters stay the objects that they were."""
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in out.modules():
        for key, parameter in module._parameters.items():
            if parameter is not None:
                places.setdefault(id(parameter), []).append((module, key))
    names = {name: key for key, (name, _) in tensor_names(out).items()}
    for name, kept in masks.items():
        for module, key in places.get(names[name], ()):
            _mask_tensor_(module, key, kept, name)


def _mask_tensor_(module: nn.Module, key: str, kept: Tensor, name: str) -> None:
    parameter = module._parameters[key]
    assert parameter is not None
    # Laid out as the tensor is: what torch.where returns then is too, and takes the same kernels.
    kept = torch.empty_like(parameter, dtype=torch.bool, requires_grad=False).copy_(kept)
    masks = [mask for chain in getattr(module, "parametrizations", {}).values() for mask in chain]
    order = next((mask.order for mask in masks if isinstance(mask, Mask)), tuple(module._parameters))
    with torch.no_grad():
        parameter.masked_fill_(~kept, 0)
    try:
        parametrize.register_parametrization(module, key, Mask(kept, order))
    except Exception as error:
        raise IsopruneError(
            f"{name} of {type(module).__name__} cannot be masked: {error}. Leave it out by a name pattern: "
            f'ratio={{"*": ..., "{name}": 0}}.'
        ) from error
    for part in module.parametrizations.modules():  # pyright: ignore[reportAttributeAccessIssue]
        part.training = module.training
    if isinstance(module, nn.RNNBase):
        # Its forward reads a list that was made once; made anew, it holds the masked weights.
        vars(module).pop("_flat_weights", None)
        type(module)._flat_weights = property(  # pyright: ignore[reportAttributeAccessIssue]
            lambda self: [getattr(self, name, None) for name in self._flat_weights_names], lambda *_: None
        )


def masks_of(model: nn.Module) -> dict[str, Tensor]:
    """Return what the masks of a network keep, by the names that its tensors have without them."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for owner, module in model.named_modules():
        for key, chain in getattr(module, "parametrizations", {}).items():
            for mask in chain:
                if isinstance(mask, Mask) and id(chain.original) not in seen:
                    seen.add(id(chain.original))  # tied tensors have the first one's name
                    found[f"{owner}.{key}".lstrip(".")] = mask.kept
    return found


def check_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Raise unless all that ``masks`` (as from `masks_of`, before a training) hold at zero is zero.

    Raises:
        IsopruneError: Naming the tensor, and how many of its elements came back.
    """
    for name, kept in masks.items():
        owner, _, key = name.rpartition(".")
        value = getattr(model.get_submodule(owner), key)
        back = int((value.detach()[~kept.to(value.device)] != 0).sum())
        if back:
            raise IsopruneError(
                f"{back} masked elements of {name} are not zero: its mask was removed. Keep the masked "
                "network as it is while it trains, and call `harden` at the end."
            )


def harden(model: nn.Module) -> nn.Module:
    """Return a copy whose masked tensors are plain parameters again, zeros included, but no longer held."""
    out = copied(model)
    harden_(out)
    return out


def harden_(out: nn.Module) -> None:
    """Make masked tensors plain as `harden` does; parameters stay the objects that they were."""
    for module in out.modules():
        if parametrize.is_parametrized(module):
            # A copy shares the class that torch made for the original, and removal would empty it for both.
            made = type(module)
            own = {k: v for k, v in vars(made).items() if k not in ("__dict__", "__weakref__")}
            object.__setattr__(module, "__class__", type(made.__name__, made.__bases__, own))
        order: tuple[str, ...] = ()
        for key, chain in list(getattr(module, "parametrizations", {}).items()):
            if all(hasattr(part, "order") for part in chain):  # masks, and shared weights
                order = chain[0].order
                parametrize.remove_parametrizations(module, key, leave_parametrized=True)
        for key in (key for key in order if key in module._parameters):
            module._parameters[key] = module._parameters.pop(key)
        if isinstance(module, nn.RNNBase) and not parametrize.is_parametrized(module):
            module._flat_weights = [getattr(module, name, None) for name in module._flat_weights_names]
