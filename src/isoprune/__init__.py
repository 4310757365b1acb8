"""isoprune: prune PyTorch networks, measure what pruning breaks, repair, retrain, compare fairly.

The public names, loaded when first used: `import isoprune` alone does not load torch.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["data", "models"],
    submod_attrs={
        "export": ["export_onnx", "latency", "load", "save"],
        "graph": ["trace"],
        "isometry": ["jacobian_singular_values"],
        "reporting": ["report"],
        "types": ["IsopruneError"],
        "verbs": ["advise", "diagnose", "prune", "repair", "retrain", "verify"],
    },
)
