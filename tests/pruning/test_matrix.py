"""Real networks at ratio 0.5, no hints: proven, whole classifier, untouched input, trainable, FLOPs down.

A few small ones here; all 27 and the three transformers in tests/export/test_zoo.py, where each is pruned
once for all that is asked of it.
"""

from __future__ import annotations

import pytest

from pruning.zoo import QUICK, check, halved


@pytest.mark.parametrize("entry", QUICK, ids=lambda e: e.name)
def test_a_real_network_loses_half_of_its_channels(entry):
    check(halved(entry))
