"""Attributes that hold a size follow the tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from isoprune.graph import Graph
from isoprune.graph.labels import box_size


def _linear(new: nn.Linear) -> None:
    new.out_features, new.in_features = new.weight.shape


def _conv(new: _ConvNd) -> None:
    transposed = isinstance(new, _ConvTransposeNd)
    makes, reads = (1, 0) if transposed else (0, 1)
    # Depthwise: every channel is a group of its own, with so many filters; other group counts stay.
    if new.groups > 1 and new.groups == new.in_channels:
        filters = 1 if transposed else new.out_channels // new.groups
        new.groups = new.weight.shape[0] // filters
    new.out_channels = new.weight.shape[makes] * (new.groups if transposed else 1)
    new.in_channels = new.weight.shape[reads] * (1 if transposed else new.groups)


def _batch_norm(new: _NormBase) -> None:
    tensor = new.weight if new.weight is not None else new.running_mean
    if tensor is not None:
        new.num_features = tensor.shape[0]


def _layer_norm(new: nn.LayerNorm | nn.RMSNorm) -> None:
    if isinstance(new.weight, Tensor):
        new.normalized_shape = tuple(new.weight.shape)


def _group_norm(new: nn.GroupNorm) -> None:
    if new.weight is not None:
        new.num_channels = new.weight.shape[0]


def _embedding(new: nn.Embedding) -> None:
    new.num_embeddings, new.embedding_dim = new.weight.shape


def _attention(new: nn.MultiheadAttention) -> None:
    width = new.out_proj.weight.shape[1]
    new.embed_dim = new.out_proj.weight.shape[0]
    new.kdim = new.in_proj_weight.shape[1] if new.in_proj_weight is not None else new.k_proj_weight.shape[1]
    new.vdim = new.in_proj_weight.shape[1] if new.in_proj_weight is not None else new.v_proj_weight.shape[1]
    new.head_dim = width // new.num_heads


def _prelu(new: nn.PReLU) -> None:
    new.num_parameters = new.weight.shape[0]


_FOLLOW: tuple[tuple[type, Callable[[Any], None]], ...] = (
    (nn.Linear, _linear),
    (_ConvNd, _conv),
    (_NormBase, _batch_norm),
    (nn.LayerNorm, _layer_norm),
    (nn.RMSNorm, _layer_norm),
    (nn.GroupNorm, _group_norm),
    (nn.Embedding, _embedding),
    (nn.MultiheadAttention, _attention),
    (nn.PReLU, _prelu),
)


def follow_shapes(new: nn.Module) -> None:
    """Set the sizes that torch's own layers keep beside their tensors."""
    for module in new.modules():
        for kind, follow in _FOLLOW:
            if isinstance(module, kind):
                follow(module)
                break


def set_claimed(new: nn.Module, graph: Graph, kept: Tensor) -> None:
    """Set the attributes that a forward used as sizes: num_heads, head_dim, hidden_dim, ..."""
    modules = dict(new.named_modules())
    changes: dict[tuple[str, str], int] = {}
    for claim in sorted(graph.recording.claims, key=lambda c: c.less is not None):
        size = box_size(claim.planes, claim.shape, kept)[claim.dim]
        if claim.less in changes:
            size += changes[claim.less]
        elif claim.less is not None:
            size += getattr(modules[claim.less[0]], claim.less[1])
        if size != claim.shape[claim.dim] or claim.less in changes:
            changes[claim.module, claim.attribute] = int(size / claim.factor)
    for (name, attribute), size in changes.items():
        module = modules.get(name)
        base, _, position = attribute.partition(".")
        if module is None or not hasattr(module, base):
            continue
        if position:
            sizes = getattr(module, base)
            setattr(module, base, type(sizes)(size if i == int(position) else n for i, n in enumerate(sizes)))
        else:
            setattr(module, base, size)
