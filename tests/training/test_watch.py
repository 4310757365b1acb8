"""Who sees the epochs of a retraining, where it is kept, and what cannot be either."""

from __future__ import annotations

import re

import pytest

import isoprune
from isoprune.types import IsopruneError

from .small import small_net, small_splits


def test_a_function_sees_every_row_of_a_retraining():
    rows = []
    small = isoprune.retrain(small_net(), small_splits(), lr=1e-3, epochs=2, watch=rows.append)
    assert rows == small.history[-1]["rows"]
    assert [row["epoch"] for row in rows] == [0, 1, 2]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"watch": 3}, "watch is 3. Give a function of an epoch's row, such as print, or a Watch."),
        ({"saving": ""}, "saving is ''. Give a path, or Saving(path, steps, seconds)."),
        ({"seed": None}, "seed is None, no whole number. Give for example 0."),
        ({"seed": 1.5}, "seed is 1.5, no whole number"),
    ],
    ids=["watch", "saving", "no seed", "seed"],
)
def test_what_cannot_watch_keep_or_seed_is_refused(option, message):
    with pytest.raises(IsopruneError, match=re.escape(message)):
        isoprune.retrain(small_net(), small_splits(), lr=1e-3, epochs=1, **option)
