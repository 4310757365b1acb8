"""Shapes and types are checked here, in tests, and nowhere else."""

import os
from pathlib import Path

from jaxtyping import install_import_hook

import isoprune

os.environ.setdefault("OMP_NUM_THREADS", "1")

# All but `models`: their forwards are what users' are, and must stay traceable by torch.fx.
_PARTS = sorted(p.stem for p in Path(isoprune.__file__).parent.iterdir() if not p.stem.startswith("_"))
install_import_hook([f"isoprune.{p}" for p in _PARTS if p not in ("models", "py")], "beartype.beartype")
