"""What `isoprune.NAME` calls: one verb a file, each ties a few folders together."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
