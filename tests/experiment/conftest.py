"""What several test files of experiments start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from experiment.tiny import one_thread, tiny
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store
from isoprune.types.record import Record


@pytest.fixture
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Record]:
    """Return the store and the record of one uninterrupted run."""
    with one_thread():
        store = Store(tmp_path_factory.mktemp("store"))
        return store, run(tiny(), store, name="whole")
