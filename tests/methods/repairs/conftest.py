"""What several tests of repairs ask for by name."""

from __future__ import annotations

import importlib

import pytest

from isoprune.linalg.ridge import ridge


@pytest.fixture
def unpulled(monkeypatch):
    """Leave `reconstruct` no pull toward the kept weights: its fits are least squares."""
    for name in ("layers.fitted_layers", "repairs.reconstruct"):
        home = importlib.import_module(f"isoprune.methods.{name}")
        monkeypatch.setattr(home, "ridge", lambda *a, **k: ridge(*a, **{**k, "strengths": [1e-13]}))
