"""Attention taken apart: its projections as layers of their own, which can be watched and fitted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isoprune.methods.layers.stored import kept_by_mask, refresh_, stored
from isoprune.methods.layers.weights import Weight

Slice = tuple[Tensor | None, Tensor | None]  # of a tensor that is trained, and of its mask
_SEPARATE = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


class Projection(nn.Module):
    """One of the linear maps of an attention. ``weight`` and ``bias`` are the attention's own memory.

    Where they are masked they stand beside it, as `torch.nn.utils.prune` has them: ``weight_orig`` is that
    memory. Inputs and outputs are [positions, samples, channels] if ``sequence_first``.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Slice, bias: Slice, *, sequence_first: bool) -> None:
        super().__init__()
        self.sequence_first = sequence_first
        for key, (memory, mask) in {"weight": weight, "bias": bias}.items():
            setattr(self, key if mask is None else f"{key}_orig", memory)
            if mask is not None:
                setattr(self, f"{key}_mask", mask)
                refresh_(self, key)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True)
class ProjectionBlock:
    """A projection, and where it lies: block ``block`` of the weight that `weights` calls ``weight``."""

    projection: Projection
    weight: str
    block: int
    blocks: int

    def of(self, tensor: Tensor) -> Tensor:
        """Return what belongs to the projection of a tensor that goes row by row with the weight."""
        return _slice(tensor, self.block, self.blocks)


@contextmanager
def taken_apart(model: nn.Module) -> Iterator[dict[str, ProjectionBlock]]:
    """Let the attentions of ``model`` run through their `Projection`s for a while, and yield these by name.

    They compute what `nn.MultiheadAttention` does, and what is written into a projection is written into the
    network. Outside nothing is left of it. An attention whose forward is not torch's own stays whole. Torch's
    fused kernels, which would go past the projections, are off the while.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    apart = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.MultiheadAttention) and _known(m)]
    found: dict[str, ProjectionBlock] = {}
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for name, attention in apart:
            parts = _parts(name, attention)
            found |= parts
            attention.forward = partial(_forward, attention, *(p.projection for p in parts.values()))
        yield found
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for _, attention in apart:
            vars(attention).pop("forward", None)
            for key in ("in_proj_weight", "in_proj_bias", *_SEPARATE):
                refresh_(attention, key)
            for key in ("weight", "bias"):
                refresh_(attention.out_proj, key)


def projections(weights: Iterable[Weight], parts: dict[str, ProjectionBlock]) -> Iterator[Weight]:
    """Yield the weights of ``parts``, in memory of those ``weights``, which hold one or several of them."""
    names = {weight.name for weight in weights}
    for name, part in parts.items():
        if part.weight in names:  # else it is tied to one that is
            yield Weight(name, part.projection)


def _known(attention: nn.MultiheadAttention) -> bool:
    own = type(attention).forward is not nn.MultiheadAttention.forward
    return not own and "forward" not in vars(attention)


def _parts(name: str, attention: nn.MultiheadAttention) -> dict[str, ProjectionBlock]:
    """Return query, key, value and output projection, in this order."""
    at, first = f"{name}." if name else "", not attention.batch_first
    together = stored(attention, "in_proj_weight") is not None
    parts = {}
    for i, key in enumerate(_SEPARATE):
        where = ("in_proj_weight", i, 3) if together else (key, 0, 1)
        bias = _sliced(attention, "in_proj_bias", i, 3)
        layer = Projection(_sliced(attention, *where), bias, sequence_first=first)
        parts[f"{at}{key[0]}_proj"] = ProjectionBlock(layer, f"{at}{where[0]}", *where[1:])
    out = attention.out_proj
    last = Projection(_sliced(out, "weight", 0, 1), _sliced(out, "bias", 0, 1), sequence_first=first)
    return parts | {f"{at}out_proj": ProjectionBlock(last, f"{at}out_proj", 0, 1)}


def _sliced(owner: nn.Module, key: str, block: int, blocks: int) -> Slice:
    memory, mask = (
        None if t is None else _slice(t, block, blocks)
        for t in (stored(owner, key), kept_by_mask(owner, key))
    )
    return memory, mask


def _slice(tensor: Tensor, block: int, blocks: int) -> Tensor:
    return tensor.detach().chunk(blocks)[block]


def _forward(
    attention: nn.MultiheadAttention,
    q: Projection,
    k: Projection,
    v: Projection,
    out: Projection,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Return what the attention does: torch's own function between the projections, its own ones unity."""
    turned = attention.batch_first and query.ndim == 3
    heads = [t.transpose(0, 1) if turned else t for t in (q(query), k(key), v(value))]
    width = heads[0].shape[-1]
    unity = torch.eye(width).to(heads[0])
    mixed, scores = F.multi_head_attention_forward(
        heads[0], heads[1], heads[2], width, attention.num_heads, unity.repeat(3, 1), None, attention.bias_k,
        attention.bias_v, attention.add_zero_attn, attention.dropout, unity, None,
        training=attention.training, key_padding_mask=key_padding_mask, need_weights=need_weights,
        attn_mask=attn_mask, average_attn_weights=average_attn_weights, is_causal=is_causal,
    )  # fmt: skip
    # The projection comes last: what it makes is the tensor that goes into the sum behind the attention.
    return out(mixed.transpose(0, 1) if turned else mixed), scores
