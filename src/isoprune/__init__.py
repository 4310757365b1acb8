"""isoprune: prune PyTorch networks, measure what pruning breaks, repair, retrain, compare fairly.

The public names, loaded when first used: `import isoprune` alone does not load torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "IsopruneError": "isoprune.types",
    "trace": "isoprune.graph",
    "prune": "isoprune.verbs",
    "verify": "isoprune.verbs",
    "repair": "isoprune.verbs",
    "jacobian_singular_values": "isoprune.isometry",
    "diagnose": "isoprune.diagnosis",
    "advise": "isoprune.training",
    "retrain": "isoprune.training",
    "save": "isoprune.export",
    "load": "isoprune.export",
    "export_onnx": "isoprune.export",
    "latency": "isoprune.export",
    "report": "isoprune.reporting",
    "models": None,
    "data": None,
}

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'isoprune' has no attribute '{name}'")
    home = _HOME[name]
    return (
        importlib.import_module(f"isoprune.{name}")
        if home is None
        else getattr(importlib.import_module(home), name)
    )


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
