"""How far the outputs of two networks are apart: tensor by tensor, element by element, each on its own
scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isoprune.graph.outputs import leaves
from isoprune.types import IsopruneError

_SAMPLED = 1 << 20  # elements of which a quantile is taken


class WrongNetwork(IsopruneError):
    """A smaller network does not compute what it should; it is not returned."""


class NotFinite(WrongNetwork):
    """Outputs hold NaN or infinity, so nothing can be proven from them."""


@dataclass(frozen=True)
class Discrepancy:
    """The worst element of all outputs: ``error`` is its difference, ``scale`` what that is relative to."""

    error: float = 0.0
    scale: float = 0.0
    where: str = "output"
    tensors: int = 0

    @property
    def relative(self) -> float:
        return self.error / self.scale if self.scale else self.error


def discrepancy(want: Any, got: Any, *others: Any) -> Discrepancy:
    """Return the worst difference of ``got`` from ``want``, both as a forward returned them.

    An element's scale is its own size, but at least that of the tensor's small elements (its first decile):
    neither a large element nor another tensor hides an error. Infinities must be equal; NaN may stand where
    ``want`` has it, as long as most elements are numbers. Integers and bools must be equal.

    Args:
        want, got: Outputs.
        others: Further outputs of the network that gave ``want``, with weights changed by less than what
        matters:
            how far those are from ``want`` is rounding, and allowed. Without them nothing is.

    Raises:
        WrongNetwork: If outputs are not of one structure and shape.
        NotFinite: If an output of ``want`` has hardly any finite element.
        OpaqueOutput: If an output cannot be looked into.
    """
    mine, theirs = leaves(want), leaves(got)
    if mine.keys() != theirs.keys():
        odd = sorted(mine.keys() ^ theirs.keys())[0]
        raise WrongNetwork(
            f"The smaller network's outputs are not those of the dense one: {odd} is in one only."
        )
    noise = [leaves(other) for other in others]
    worst = Discrepancy()
    for path, value in mine.items():
        a, b, *rest = (_numbers(v) for v in (value, theirs[path], *(n[path] for n in noise if path in n)))
        if a.shape != b.shape:
            raise WrongNetwork(
                f"The smaller network's {path} is {tuple(b.shape)}, where the dense one's is "
                f"{tuple(a.shape)}."
            )
        error, scale = _worst(a, b.to(a.device), [r for r in rest if r.shape == a.shape], path)
        one = Discrepancy(error, scale, path)
        if one.relative >= worst.relative:
            worst = one
    count = sum(isinstance(v, Tensor) for v in mine.values())
    return Discrepancy(worst.error, worst.scale, worst.where, count)


def _numbers(value: Any) -> Tensor:
    """Return a tensor or number as real numbers in float64; whole numbers stay whole."""
    t = value.detach() if isinstance(value, Tensor) else torch.as_tensor(value)
    t = t.as_subclass(Tensor) if type(t) is not Tensor else t
    if t.layout != torch.strided:
        t = t.to_dense()
    if t.is_quantized:
        t = t.dequantize()
    if t.is_complex():
        t = torch.view_as_real(t.resolve_conj())
    if not t.is_floating_point():
        return t
    return t.double() if t.device.type != "mps" else t.cpu().double()


def _worst(a: Tensor, b: Tensor, others: list[Tensor], path: str) -> tuple[float, float]:
    """Return the error and the scale of the element whose error is largest on its scale."""
    if not a.numel():
        return 0.0, 0.0
    if not a.is_floating_point():
        stable = (
            ~torch.stack([r != a for r in others]).any(0) if others else torch.ones_like(a, dtype=torch.bool)
        )
        wrong = int(((a != b) & stable).sum())
        return float(wrong), float(wrong and 1.0)
    finite = a.isfinite()
    nan = a.isnan()
    if not bool(finite.any()) or 2 * int(nan.sum()) > a.numel():
        raise NotFinite(
            f"The network's {path} holds NaN or infinity, so nothing can be proven. "
            "Give example_inputs like the data it was trained on."
        )
    same = finite & b.isfinite()
    odd = ~same & (a != b) & ~(nan & b.isnan())
    if bool(odd.any()):
        return float("inf"), 1.0
    difference = torch.where(same, (a - b).abs(), 0.0)
    for allowed in _rounding(a, others):
        difference = torch.where(difference <= allowed, 0.0, difference)
    size = torch.where(same, a.abs(), 0.0)
    scales = size.clamp_min(_small(size))
    relative = torch.where(scales > 0, difference / scales, difference)
    at = int(relative.argmax())
    return float(difference.flatten()[at]), float(scales.flatten()[at])


def _small(sizes: Tensor) -> float:
    """Return the first decile of what is not zero."""
    flat = sizes.flatten()
    if flat.numel() > _SAMPLED:
        flat = flat[:: flat.numel() // _SAMPLED + 1]
    flat = flat[flat > 0]
    return float(flat.kthvalue(1 + (flat.numel() - 1) // 10).values) if flat.numel() else 0.0


def _rounding(a: Tensor, others: list[Tensor]) -> list[Tensor]:
    """Return what rounding may change, element by element, from outputs that differ by rounding only."""
    if not others:
        return []
    spread = torch.stack([torch.nan_to_num(r - a, posinf=0.0, neginf=0.0).abs() for r in others]).amax(0)
    return [10 * spread.clamp_min(_small(spread))]
