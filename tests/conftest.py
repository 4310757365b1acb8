"""Shapes and types are checked here, in tests, and nowhere else."""

import gc
import os

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("OMP_NUM_THREADS", "1")

# The folders that say shapes. Elsewhere pyright reads the types; checked at every call they cost three fifths
# of the tests' time.
install_import_hook([f"isoprune.{p}" for p in ("linalg", "isometry", "data")], "beartype.beartype")


def pytest_configure() -> None:
    """Keep progress out of what tests compare, and the disk out of what they wait for.

    A process that is killed loses nothing that the system holds, synced or not.
    """
    from isoprune.cli import console

    console.SECONDS_BETWEEN_LINES = float("inf")
    os.fsync = lambda _: None


@pytest.fixture(scope="module", autouse=True)
def _few_objects_to_collect():
    """Leave what is imported by now out of every garbage collection: a record's step makes a full one."""
    if len(gc.get_objects()) > 50_000:
        gc.collect()
        gc.freeze()
