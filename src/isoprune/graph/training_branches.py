"""Whether a network does something else in train mode than in eval mode, read off its code."""

from __future__ import annotations

import dis
from functools import cache
from types import FunctionType

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from isoprune.graph.cloning import named_modules


def has_training_branch(model: nn.Module) -> bool:
    """Tell whether the class of a module, other than torch's own, branches on ``self.training``."""
    kinds = {type(module) for _, module in named_modules(model)}
    return any(_branches(kind) for kind in kinds if not issubclass(kind, _NormBase))


@cache
def _branches(kind: type) -> bool:
    return any(
        _asks(function)
        for base in kind.__mro__
        if not base.__module__.startswith("torch.") and base is not object
        for function in vars(base).values()
        if isinstance(function, FunctionType)
    )


def _asks(function: FunctionType) -> bool:
    """Tell whether a jump follows at once where the attribute is read (not where it is handed on)."""
    if "training" not in function.__code__.co_names:
        return False
    code = list(dis.get_instructions(function))
    for i, step in enumerate(code):
        if step.opname == "LOAD_ATTR" and str(step.argval).removesuffix("()") == "training":
            after = [s.opname for s in code[i + 1 : i + 4] if s.opname not in _PASSED]
            if after and "JUMP" in after[0]:
                return True
    return False


_PASSED = {"TO_BOOL", "UNARY_NOT", "COPY", "CACHE", "NOT_TAKEN"}
