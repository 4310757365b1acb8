"""The one importer of users' modules, which are named in a command, a config or a call."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
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


def source_digest(module: ModuleType) -> str:
    """Return what pins a user's code: 16 digits of the SHA-256 of a module's source and of all it imports.

    Installed packages are left out: their versions are in a record's environment. So is what a function
    reads from files.
    """
    own, waiting = {module.__name__: _file(module.__name__)}, [module.__name__]
    while waiting:
        here = waiting.pop()
        for name in _imported_in(here, own[here]):
            file = _file(name)
            if name not in own and file is not None and not is_installed(file):
                own[name] = file
                waiting.append(name)
    pinned = hashlib.sha256()
    for name in sorted(own):
        pinned.update(f"{name}:".encode())
        pinned.update(b"" if (file := own[name]) is None else file.read_bytes())
    return pinned.hexdigest()[:16]


def _file(module: str) -> Path | None:
    """Return the source of a module that is loaded, or could be without loading another one for it."""
    found = getattr(sys.modules.get(module), "__file__", None)
    above = module.rpartition(".")[0]
    if module not in sys.modules and (not above or hasattr(sys.modules.get(above), "__path__")):
        spec = importlib.util.find_spec(module)
        found = spec.origin if spec is not None and spec.has_location else None
    return Path(found) if found and found.endswith(".py") and Path(found).is_file() else None


def _imported_in(module: str, file: Path | None) -> Iterator[str]:
    """Yield the modules that a file names in its imports, wherever they stand in it."""
    package = getattr(sys.modules.get(module), "__package__", None) or module
    for node in ast.walk(ast.parse(file.read_bytes())) if file is not None else ():
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def is_installed(file: Path) -> bool:
    """Return whether a file is of Python, of an installed package, or of this one: no code of the user's."""
    places = map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib"))
    return any(file.is_relative_to(place) for place in (*places, _PACKAGE))


_PACKAGE = Path(__file__).parents[1]
