"""Attention taken apart: its projections as layers of their own, which can be watched and fitted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isoprune.methods.repairs.weights import Weight

_SEPARATE = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


class Projection(nn.Module):
    """One of the linear maps of an attention. ``weight`` and ``bias`` are the attention's own memory.

    Its inputs and outputs are [positions, samples, channels] if ``sequence_first``.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, sequence_first: bool) -> None:
        super().__init__()
        self.weight, self.bias, self.sequence_first = weight.detach(), bias, sequence_first

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True)
class Part:
    """A projection, and where it lies: block ``block`` of the weight that `weights` calls ``weight``."""

    projection: Projection
    weight: str
    block: int
    blocks: int

    def of(self, tensor: Tensor) -> Tensor:
        """Return what belongs to the projection of a tensor that goes row by row with the weight."""
        return tensor.detach().chunk(self.blocks)[self.block]


@contextmanager
def taken_apart(model: nn.Module) -> Iterator[dict[str, Part]]:
    """Let the attentions of ``model`` run through their `Projection`s for a while, and yield these by name.

    They compute what `nn.MultiheadAttention` does, and what is written into a projection is written into the
    network. Outside nothing is left of it. An attention whose forward is not torch's own stays whole. Torch's
    fused kernels, which would go past the projections, are off the while.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    apart = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.MultiheadAttention) and _known(m)]
    found: dict[str, Part] = {}
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
            _apply_masks(attention)


def projections(found: Iterable[Weight], parts: dict[str, Part]) -> Iterator[Weight]:
    """Yield the weights of ``parts``, in memory of those ``found``, which hold one or several of them."""
    held = {weight.name: weight for weight in found}
    for name, part in parts.items():
        if part.weight in held:  # else it is tied to one that is
            weight = held[part.weight]
            mask = None if weight.mask is None else part.of(weight.mask)
            yield Weight(name, part.projection, part.of(weight.parameter), mask=mask)


def _known(attention: nn.MultiheadAttention) -> bool:
    own = type(attention).forward is not nn.MultiheadAttention.forward
    return not own and "forward" not in vars(attention)


def _parts(name: str, attention: nn.MultiheadAttention) -> dict[str, Part]:
    """Return query, key, value and output projection, in this order."""
    at = f"{name}." if name else ""
    if attention.in_proj_weight is not None:
        places = [(f"{at}in_proj_weight", i, 3) for i in range(3)]
        matrices = attention.in_proj_weight.detach().chunk(3)
    else:
        places = [(f"{at}{key}", 0, 1) for key in _SEPARATE]
        matrices = [getattr(attention, key) for key in _SEPARATE]
    biases = (None,) * 3 if attention.in_proj_bias is None else attention.in_proj_bias.detach().chunk(3)
    first = not attention.batch_first
    parts = {
        f"{at}{letter}_proj": Part(Projection(W, b, sequence_first=first), *place)
        for letter, W, b, place in zip("qkv", matrices, biases, places, strict=True)
    }
    out = attention.out_proj
    bias = None if out.bias is None else out.bias.detach()
    last = Projection(out.weight, bias, sequence_first=first)
    return parts | {f"{at}out_proj": Part(last, f"{at}out_proj", 0, 1)}


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


def _apply_masks(attention: nn.MultiheadAttention) -> None:
    """Put masked weights where torch's own forward reads them."""
    for owner in (attention, attention.out_proj):
        for name, mask in owner._buffers.items():
            key = name.removesuffix("_mask")
            if mask is not None and f"{key}_orig" in owner._parameters:
                setattr(owner, key, getattr(owner, f"{key}_orig").detach() * mask)
