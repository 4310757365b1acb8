"""The one importer of modules of others: a user named them, in a command, a config or a call."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType


def imported(module: str) -> ModuleType:
    """Return the module of a ``"module:function"`` that a user wrote; a name out of a file never gets here.

    It is looked for where the user stands too, as `python -m` would. Only now: from the first moment on, a
    file of a stranger's folder that is called as an optional package would be run in its place.
    """
    if (here := os.getcwd()) not in sys.path:  # noqa: PTH109
        sys.path.append(here)
        importlib.invalidate_caches()
    return importlib.import_module(module)
