"""What several test files of pruning start from."""

from __future__ import annotations

import pytest

from graph.small_networks import network
from isoprune.graph import trace


@pytest.fixture(scope="module")
def mlp():
    return network("mlp")


@pytest.fixture(scope="module")
def graph(mlp):
    return trace(*mlp)
