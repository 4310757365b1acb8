"""The shared vocabulary as types. Loads without torch until one that needs it is used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
