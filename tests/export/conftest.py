"""A saved network that strangers may change, and what it computes."""

from __future__ import annotations

from pathlib import Path

import pytest

import isoprune
from isoprune.export import load, save

from .networks import Convolutions, bits, images, seeded


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    result = isoprune.prune(seeded(Convolutions), images(), 0.4)
    return save(result, tmp_path_factory.mktemp("hostile") / "good")


@pytest.fixture(scope="module")
def good(saved) -> dict:
    return bits(load(saved, build=Convolutions))
