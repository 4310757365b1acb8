"""Example inputs of a forward: copies of them, and others like them with other values and sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils._pytree import tree_leaves

from isoprune.graph.copying import deep
from isoprune.graph.entries import as_call
from isoprune.graph.outputs import tensors_of
from isoprune.types.task import are_images


def copied_inputs(inputs: Any, convert: Callable[[Tensor], Tensor] = Tensor.clone) -> Any:
    """Return inputs whose tensors, wherever they are held, are what ``convert`` makes of them."""
    memo: dict[int, Any] = {}
    for tensor in tensors_of(inputs):
        if id(tensor) not in memo:
            memo[id(tensor)] = convert(tensor.detach())
    return deep(inputs, memo, "an input")


def samples_of(inputs: Any) -> int:
    """Return how many samples a forward's inputs hold.

    A list of images or of mappings holds one entry a sample. Else it is the first dimension of the first
    tensor with two dimensions or more, or of the first one of whole numbers, such as ids; else one.
    """
    for part in tree_leaves(as_call(inputs), is_leaf=_is_list_of_samples):
        if _is_list_of_samples(part):
            return len(part)
    tensors = [t for t in tensors_of(inputs) if t.dim()]
    with_samples = next((t for t in tensors if t.dim() > 1), None)
    if with_samples is None:
        with_samples = next((t for t in tensors if not t.is_floating_point()), None)
    return 1 if with_samples is None else with_samples.size(0)


def _is_list_of_samples(value: Any) -> bool:
    return are_images(value) or (
        isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)
    )


@dataclass(frozen=True)
class Sizes:
    """How inputs are to differ from the example: more or fewer samples, and images of another size."""

    batch: int | None = None
    image: tuple[int, int] | None = None

    def __str__(self) -> str:
        image = "" if self.image is None else f"images {self.image[0]} x {self.image[1]}"
        batch = "" if self.batch is None else f"batch {self.batch}"
        return ", ".join(part for part in (batch, image) if part)


def other_sizes(inputs: Any) -> list[Sizes]:
    """Return sizes that a network may take beside those of the example, the furthest from it first."""
    tensors = [t for t in tensors_of(inputs) if t.dim()]
    if not tensors:
        return []
    samples = next((t for t in tensors if t.is_floating_point()), tensors[0]).size(0)
    batch = 2 if samples != 2 else 3
    images = [t for t in tensors if t.dim() >= 4 and t.is_floating_point()]
    shape = tuple(images[0].shape[-2:]) if images else ()
    other = tuple(_other_side(n) for n in shape)
    return [Sizes(batch, (other[0], other[1])), Sizes(batch)] if other else [Sizes(batch)]


def _other_side(n: int) -> int:
    """Return another side of an image: a multiple of 32 where it is large, else larger by an even number."""
    return 32 * max(1, 3 * n // 256) if n >= 64 else n + max(2, n // 2 // 2 * 2)


def drawn_inputs(inputs: Any, sizes: Sizes, generator: Generator) -> Any:
    """Return inputs like these with values drawn from the same ranges, of other sizes.

    Floats are drawn between the least and the largest value (standard normal where all are zero), whole
    numbers too; whole numbers and bools that are all equal stay what they are.
    """
    tensors = [t for t in tensors_of(inputs) if t.dim()]
    samples = next(
        (t.size(0) for t in tensors if t.is_floating_point()), tensors[0].size(0) if tensors else 0
    )
    image = next((tuple(t.shape[-2:]) for t in tensors if t.dim() >= 4 and t.is_floating_point()), None)

    def drawn(t: Tensor) -> Tensor:
        shape = list(t.shape)
        if sizes.batch is not None and shape and shape[0] == samples:
            shape[0] = sizes.batch
        if sizes.image is not None and t.dim() >= 3 and tuple(shape[-2:]) == image:
            shape[-2:] = sizes.image
        return _values(t, shape, generator).to(t.device)

    return copied_inputs(inputs, drawn)


def _values(t: Tensor, shape: list[int], generator: Generator) -> Tensor:
    if not t.numel() or t.layout != torch.strided:
        return t.clone()
    if t.is_complex():
        return torch.randn(shape, generator=generator, dtype=torch.complex128).to(t.dtype)
    values = t.double() if t.is_floating_point() else t.long()
    low, high = values.min(), values.max()
    if t.is_floating_point():
        low, high = (torch.nan_to_num(v, posinf=1.0, neginf=-1.0) for v in (low, high))
        if bool(low == high):
            made = torch.randn(shape, generator=generator, dtype=torch.float64)
            return (low * (1 + made / 4) if bool(low) else made).to(t.dtype)
        made = torch.rand(shape, generator=generator, dtype=torch.float64)
        both = bool(((values == low) | (values == high)).all())  # a mask of zeros and ones stays one
        return (low + (high - low) * (made.round() if both else made)).to(t.dtype)
    return torch.randint(int(low), int(high) + 1, shape, generator=generator).to(t.dtype)
