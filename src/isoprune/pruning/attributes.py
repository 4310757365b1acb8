"""Attributes that hold a size follow the tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from isoprune.graph.cloning import named_modules


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
        if new.num_groups == new.num_channels:  # a group a channel
            new.num_groups = new.weight.shape[0]
        new.num_channels = new.weight.shape[0]


def _embedding(new: nn.Embedding) -> None:
    new.num_embeddings, new.embedding_dim = new.weight.shape


def _attention(new: nn.MultiheadAttention) -> None:
    width = new.out_proj.weight.shape[1]
    query = new.in_proj_weight if new.in_proj_weight is not None else new.q_proj_weight
    new.embed_dim = query.shape[1]  # its forward compares this with what comes in, not with what goes out
    new.kdim = new.in_proj_weight.shape[1] if new.in_proj_weight is not None else new.k_proj_weight.shape[1]
    new.vdim = new.in_proj_weight.shape[1] if new.in_proj_weight is not None else new.v_proj_weight.shape[1]
    new.head_dim = width // new.num_heads


def _recurrent(new: nn.RNNBase) -> None:
    makes, reads = (getattr(new, name).shape for name in ("weight_ih_l0", "weight_hh_l0"))
    new.input_size = makes[1]
    new.hidden_size = makes[0] // {"LSTM": 4, "GRU": 3}.get(new.mode, 1)
    if new.proj_size:
        new.proj_size = reads[1]


def _cell(new: nn.RNNCellBase) -> None:
    new.hidden_size, new.input_size = new.weight_hh.shape[1], new.weight_ih.shape[1]


def _bilinear(new: nn.Bilinear) -> None:
    new.out_features, new.in1_features, new.in2_features = new.weight.shape


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
    (nn.RNNBase, _recurrent),
    (nn.RNNCellBase, _cell),
    (nn.Bilinear, _bilinear),
)


def follow_shapes(new: nn.Module) -> None:
    """Set the sizes that torch's own layers keep beside their tensors."""
    for _, module in named_modules(new):
        follow = _follower(type(module))
        if follow is not None:
            follow(module)


@cache
def _follower(kind: type) -> Callable[[Any], None] | None:
    return next((follow for base, follow in _FOLLOW if issubclass(kind, base)), None)
