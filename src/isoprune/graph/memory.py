"""Identities of memory: equal for two tensors that share it."""

from __future__ import annotations

import torch
from torch import Tensor


def memory_of(tensor: Tensor) -> int:
    """Return a key that is equal for all views of one memory; a sparse tensor has no views."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)


def place_of(tensor: Tensor) -> tuple:
    """Return a key that is equal for two tensors of the very same elements."""
    if tensor.layout is not torch.strided:
        return (id(tensor),)
    return memory_of(tensor), tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype
