"""Networks that a file describes: built only where the file holds weights for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from isoprune.export.manifest import Manifest
from isoprune.graph.dispatch_mode import DispatchMode
from isoprune.types.errors import IsopruneError

LEAST, MOST = 10**7, 1000  # elements: so many, or so many times those of the file

_MAKES = {
    torch.ops.aten.empty.memory_format,
    torch.ops.aten.zeros.default,
    torch.ops.aten.ones.default,
    torch.ops.aten.full.default,
    torch.ops.aten.rand.default,
    torch.ops.aten.randn.default,
}


class _Counting(DispatchMode):
    # Before the memory is asked for: a system that promises more than it has kills who uses it.
    def __init__(self, most: int, where: str) -> None:
        super().__init__()
        self.left, self.where = most, where

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _MAKES:
            self.left -= math.prod(args[0])
            if self.left < 0:
                raise IsopruneError(
                    f"{self.where} describes a network of far more weights than it holds. It is not built."
                )
        return func(*args, **(kwargs or {}))


def built(make: Callable[[], nn.Module], saved: Manifest, where: str) -> nn.Module:
    """Return ``make()``, which a file named; refuse a network far larger than the one that is saved there.

    Raises:
        IsopruneError: If it is; before the memory is taken.
    """
    most = max(LEAST, MOST * sum(math.prod(tensor.shape) for tensor in saved.tensors.values()))
    with _Counting(most, where):
        return make()
