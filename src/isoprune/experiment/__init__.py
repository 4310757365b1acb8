"""From a TOML file to records: experiments, the store, studies on several processes. Loads on first use."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
