"""Records from disk, and the frame that reports, comparisons and tables are made of."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
