"""A plan made real: a new module of the same class with smaller tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from isoprune.graph import Graph
from isoprune.graph.cloning import clone_sharing, named_modules, tensor_names
from isoprune.graph.isolation import isolated
from isoprune.graph.labels import box_size, restrict
from isoprune.pruning.attributes import follow_shapes
from isoprune.pruning.drift import Drift
from isoprune.pruning.rehearsal import rehearse
from isoprune.pruning.size_attributes import set_sizes
from isoprune.pruning.weight_norms import keep_norms, weight_norms
from isoprune.signals.effective import hooks, worked_out
from isoprune.types import Plan
from isoprune.types.collector import uncollected

_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


@isolated()
def shrink(model: nn.Module, graph: Graph, plan: Plan, *, drifts: Sequence[Drift] | None = None) -> nn.Module:
    """Return a smaller network of the same class without the channels of ``plan``; ``model`` is untouched.

    Every parameter and buffer is a copy, tied weights stay tied, and attributes that held a size
    (`out_features`, `num_heads`, `normalized_shape`, ...) follow. Where a forward scales by a width that
    is cut (attention by 1 / sqrt(head width)), the weights before it are multiplied by the quotient,
    so that the scores stay what they were. ``drifts``: those scales, if `rehearse` found them already.

    Cost: one copy of the kept weights, and one recorded forward.
    """
    kept = graph.kept_ids(plan)
    with uncollected():
        if drifts is None:
            drifts = rehearse(outline(model, graph, plan), graph, kept).drifts
        new = {name: _copy(name, tensor, graph, kept) for name, tensor in tensor_names(model).values()}
        _keep_scales(graph, kept, new, drifts)
        whole = dict(tensor_names(model).values())
        keep_norms(weight_norms(model, graph), graph, kept, whole, new)
        return _rebuilt(model, graph, kept, new)


@isolated()
def scales(
    model: nn.Module, graph: Graph, plan: Plan, drifts: Sequence[Drift] | None = None
) -> dict[str, Tensor]:
    """Return, for each parameter that `shrink` does not copy as it is, what it multiplies its elements by."""
    kept = graph.kept_ids(plan)
    if drifts is None:
        drifts = rehearse(outline(model, graph, plan), graph, kept).drifts
    changed = {name for drift in drifts for name in drift.scaled}
    ones = {
        name: torch.ones(box_size(*graph.tensors[name], kept), dtype=torch.float64)
        for name in sorted(changed)
    }
    _keep_scales(graph, kept, ones, drifts)
    return ones


def _copy(name: str, tensor: Tensor, graph: Graph, kept: Tensor) -> Tensor:
    """Return what stays of a tensor, in memory of its own."""
    left = (
        restrict(tensor.detach(), graph.tensors[name][0], kept) if name in graph.tensors else tensor.detach()
    )
    if left.data_ptr() == tensor.data_ptr():
        return left.clone()
    if tensor.is_contiguous():
        return left.contiguous()
    layout = _LAYOUTS.get(tensor.dim())
    if layout is None or not tensor.is_contiguous(memory_format=layout):
        return left
    return left.contiguous(memory_format=layout)


def outline(model: nn.Module, graph: Graph, plan: Plan) -> nn.Module:
    """Return what `shrink` would, on memory that is never written: for its shapes alone, at no cost.

    Integers keep their values: an operation may read them.
    """
    kept = graph.kept_ids(plan)
    new = {
        name: (tensor.detach() if isinstance(tensor, nn.Parameter) else tensor.detach().clone())
        if name not in graph.tensors
        else torch.empty(box_size(graph.tensors[name][0], tensor.shape, kept), dtype=tensor.dtype)
        if tensor.is_floating_point() or tensor.is_complex()
        else _copy(name, tensor, graph, kept)
        for name, tensor in tensor_names(model).values()
    }
    return _rebuilt(model, graph, kept, new)


def _rebuilt(model: nn.Module, graph: Graph, kept: Tensor, new: dict[str, Tensor]) -> nn.Module:
    small = clone_sharing(model)
    modes = [(module, module.training) for _, module in named_modules(small)]
    for module, _ in modes:
        module.training = False  # in train mode a spectral norm iterates at each look at its weight
    replace_tensors(small, new)
    follow_shapes(small)
    set_sizes(small, graph, kept)
    for module, training in modes:
        module.training = training
    return small


def _work_out_weights(small: nn.Module) -> None:
    """Compute the weights that hooks keep beside what they are made of, as the next forward will."""
    for _, module in named_modules(small):
        for _, hook, key in hooks(module):
            setattr(module, key, worked_out(module, hook))


def replace_tensors(model: nn.Module, new: dict[str, Tensor]) -> None:
    """Put ``new`` tensors, by name, where parameters and buffers were; tied ones stay tied."""
    by_tensor = {key: name for key, (name, _) in tensor_names(model).items()}
    made: dict[str, nn.Parameter] = {}
    for _, module in named_modules(model):
        for name, old in list(module._parameters.items()):
            if old is not None and by_tensor[id(old)] in new:
                full = by_tensor[id(old)]
                made.setdefault(full, nn.Parameter(new[full], requires_grad=old.requires_grad))
                setattr(module, name, made[full])  # a recurrent layer keeps a list of them beside
        for name, old in list(module._buffers.items()):
            if old is not None and by_tensor[id(old)] in new:
                module._buffers[name] = new[by_tensor[id(old)]]
    _work_out_weights(model)


def _keep_scales(graph: Graph, kept: Tensor, new: dict[str, Tensor], drifts: Sequence[Drift]) -> None:
    """Multiply what makes values whose scale changed with a width."""
    for drift in drifts:
        for name, ids in drift.scaled.items():
            planes, shape = graph.tensors[name]
            number = torch.tensor(drift.factor, dtype=torch.float64)
            hits = [torch.isin(p.core, ids) for p in planes] if ids is not None else []
            factor = next((torch.where(h, number, 1) for h in hits if bool(h.any())), number)
            laid = factor.expand(shape)
            new[name] = new[name] * restrict(laid, planes, kept).to(new[name])
