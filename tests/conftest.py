"""Shapes and types are checked here, in tests, and nowhere else."""

import gc
import os

from jaxtyping import install_import_hook

os.environ.setdefault("OMP_NUM_THREADS", "1")

# The folders that say shapes. Elsewhere pyright reads the types; checked at every call they cost three fifths
# of the tests' time.
install_import_hook([f"isoprune.{p}" for p in ("linalg", "isometry", "data")], "beartype.beartype")


def pytest_configure() -> None:
    """Keep progress out of what tests compare, however long a busy machine takes."""
    from isoprune.cli import console

    console.SECONDS_BETWEEN_LINES = float("inf")


def pytest_collection_finish() -> None:
    """Leave what is imported by now out of every garbage collection: a record's step makes a full one."""
    gc.collect()
    gc.freeze()
