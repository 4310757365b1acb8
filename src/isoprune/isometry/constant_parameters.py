"""A network whose parameters and buffers are held constant for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.types import IsopruneError


@contextlib.contextmanager
def held_constant(model: nn.Module, copy: Callable[[Tensor], Tensor]) -> Iterator[list[Tensor]]:
    """Yield a ``copy`` of each parameter and buffer, which the model runs on until it is left.

    What ``torch.func.functional_call`` does for one forward, once for all of them; tied stay tied.

    Raises:
        IsopruneError: For a module whose tensors cannot be exchanged.
    """
    if isinstance(model, (torch.jit.ScriptModule, nn.DataParallel)):
        raise IsopruneError(
            f"model is a {type(model).__name__}, whose parameters cannot be held constant. Pass the "
            "nn.Module that it was made from."
        )
    copies: dict[int, Tensor] = {}
    exchanged: list[tuple[dict[str, Any], dict[str, Tensor]]] = []
    try:
        for module in model.modules():
            own: Any  # torch says a table of parameters holds parameters; for a while it does not
            for own in (module._parameters, module._buffers):
                before = {name: t for name, t in own.items() if t is not None}
                exchanged.append((own, before))
                for name, t in before.items():
                    if id(t) not in copies:
                        copies[id(t)] = copy(t)
                    own[name] = copies[id(t)]
        yield list(copies.values())
    finally:
        for own, before in exchanged:
            own.update(before)
