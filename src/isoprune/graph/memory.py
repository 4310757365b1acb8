"""Where a tensor lies: what two tensors of one memory have in common."""

from __future__ import annotations

import torch
from torch import Tensor


def memory_of(tensor: Tensor) -> int:
    """Return what two views of one memory have in common; a sparse tensor has no views."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)


def place_of(tensor: Tensor) -> tuple:
    """Return what two tensors of the very same elements have in common."""
    if tensor.layout is not torch.strided:
        return (id(tensor),)
    return memory_of(tensor), tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype
