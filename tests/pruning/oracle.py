"""A second opinion on pruned networks, which shares no code with `verify`.

A dense copy in which the weights that *read* a removed channel are zero (and a norm over channels sees
only those that stay) must compute what the small network computes.
"""

from __future__ import annotations

import copy
from types import SimpleNamespace

import torch
from torch import nn


def gone_elements(graph, plan, role):
    """Return, per tensor, which elements belong to a removed channel in that role."""
    masks = {}
    for group in graph.groups:
        gone = torch.tensor(plan.removed.get(group.name, ()), dtype=torch.int64)
        for member in group.members:
            if member.role == role and len(gone):
                mask = torch.isin(member.channels, gone)
                old = masks.get(member.tensor)
                masks[member.tensor] = mask if old is None else mask | old
    return masks


def unread(graph, plan, *, read_too=False):
    """Return the elements that make channels which no weight reads (queries and keys): zero these.

    With ``read_too`` those of all channels, for queries that tables of positions read as well.
    """
    groups = tuple(g for g in graph.groups if read_too or not any(m.role == "in" for m in g.members))
    masks = [gone_elements(SimpleNamespace(groups=groups), plan, role) for role in ("out", "other")]
    return {name: mask for found in masks for name, mask in found.items()}


class KeptNorm(nn.Module):
    """A norm whose statistic runs over the kept channels only, channel last, in plain arithmetic."""

    def __init__(self, norm, kept):
        super().__init__()
        self.norm, self.kept = norm, kept

    def forward(self, x):
        norm = self.norm
        if isinstance(norm, nn.GroupNorm):
            pieces = x.chunk(norm.num_groups, 1)
            kept = self.kept.flatten().chunk(norm.num_groups)
            out = []
            for piece, k in zip(pieces, kept, strict=True):
                seen = (piece[:, k] if bool(k.any()) else piece).flatten(1)  # no one reads a group that went
                mean, var = seen.mean(1), seen.var(1, unbiased=False)
                shape = (-1, *[1] * (x.dim() - 1))
                out.append((piece - mean.view(shape)) / (var.view(shape) + norm.eps).sqrt())
            shape = (1, -1, *[1] * (x.dim() - 2))
            return torch.cat(out, 1) * norm.weight.view(shape) + norm.bias.view(shape)
        seen = x[..., self.kept.flatten()]
        if isinstance(norm, nn.RMSNorm):
            eps = norm.eps if norm.eps is not None else torch.finfo(x.dtype).eps
            return x / (seen.pow(2).mean(-1, keepdim=True) + eps).sqrt() * norm.weight
        mean, var = seen.mean(-1, keepdim=True), seen.var(-1, keepdim=True, unbiased=False)
        return (x - mean) / (var + norm.eps).sqrt() * norm.weight + norm.bias


def zeroed_reads(model, graph, plan, *, makers=False):
    """Return the dense copy of which the readers of removed channels are zero; with ``makers`` these too."""
    dense = copy.deepcopy(model)
    tensors = {**dict(dense.named_parameters()), **dict(dense.named_buffers())}
    reads = gone_elements(graph, plan, "in")
    with torch.no_grad():
        for name, mask in [*reads.items(), *unread(graph, plan, read_too=makers).items()]:
            tensors[name].masked_fill_(mask, 0)
    lost = gone_elements(graph, plan, "other")
    for name, module in list(dense.named_modules()):
        if isinstance(module, nn.LayerNorm | nn.RMSNorm | nn.GroupNorm) and f"{name}.weight" in lost:
            parent, _, attribute = name.rpartition(".")
            setattr(dense.get_submodule(parent), attribute, KeptNorm(module, ~lost[f"{name}.weight"]))
    return dense


def difference(a, b, x):
    """Return the largest difference of two networks' outputs over the largest output."""
    with torch.no_grad():
        want, got = a(x), b(x)
    return float((want - got).abs().max() / want.abs().max())


def assert_right(model, pruned, *calls, call=lambda network, *args: network(*args)):
    """Assert that removed channels are read by nobody, whichever call is made, with other weights too."""
    assert pruned.plan.removed
    for scale in (1.0, -1.7):
        dense, small = copy.deepcopy(model).double(), copy.deepcopy(pruned.model).double()
        dense = zeroed_reads(dense, pruned.graph, pruned.plan)
        for args in calls:
            args = [a.double() * scale if torch.is_tensor(a) and a.is_floating_point() else a for a in args]
            with torch.no_grad():
                torch.testing.assert_close(call(small, *args), call(dense, *args), rtol=1e-9, atol=1e-9)
