"""Records -> tables, sentences, figures and one web page; what is not in a record cannot be reported."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
