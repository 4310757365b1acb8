"""isoprune: prune PyTorch networks, measure what pruning breaks, repair, retrain, compare fairly.

The public names stand in `__init__.pyi` and are loaded when first used: this alone does not load torch.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
