"""What `isoprune.NAME` calls: one verb a file, each ties a few folders together."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "advise": ["advise"],
        "diagnose": ["diagnose"],
        "prune": ["prune", "verify"],
        "repair": ["repair"],
        "retrain": ["retrain"],
    },
)
