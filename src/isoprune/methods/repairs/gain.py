"""How much power an activation passes on, and the gain that makes up for it."""

from __future__ import annotations

import math
import re

from torch import fx, nn

from isoprune.types import IsopruneError

# By name, so that NewGELUActivation, QuickGELU and torch.relu_ count too. These pass about half the power of
# a zero-mean signal, which the published gain sqrt(2) makes up for.
_RELU_LIKE = re.compile(r"elu|silu|mish|swish|softplus", re.IGNORECASE)


def activation_gain(model: nn.Module) -> float:
    """Return sqrt(2) if the network has a ReLU-like nonlinearity, as a module or in its forward; else 1.

    Raises:
        IsopruneError: If no module says so and the forward cannot be traced.
    """
    if any(_RELU_LIKE.search(type(m).__name__) for m in model.modules()):
        return math.sqrt(2)
    try:
        nodes = fx.symbolic_trace(model).graph.nodes
    except Exception as error:  # tracing runs the user's forward, which may raise anything
        raise IsopruneError(
            f"Cannot tell whether {type(model).__name__} has a ReLU-like nonlinearity: no module is one and "
            f"its forward cannot be traced ({type(error).__name__}). Pass gain = 1.4142 if it has, gain = 1 "
            "if not."
        ) from error
    called = (n.target if n.op == "call_method" else getattr(n.target, "__name__", "") for n in nodes)
    return math.sqrt(2) if any(_RELU_LIKE.search(str(name)) for name in called) else 1.0


def gain_or_default(model: nn.Module, gain: int | float | None) -> float:
    """Return ``gain``, or what the network's activation asks for."""
    return float(gain) if gain is not None else activation_gain(model)
