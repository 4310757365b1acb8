"""What cannot be rewound or replayed, and what a replay is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiment.rewinding import DENSE, REPLAY, rewinding
from isoprune.experiment.pipeline import run
from isoprune.experiment.resolve import resolve
from isoprune.experiment.store import Store
from isoprune.types import IsopruneError

REFUSED = {
    "later than the end": (
        rewinding,
        (5,),
        {},
        r"rewind is 5, but the dense network is trained for 4 epochs",
    ),
    "negative": (rewinding, (-1,), {}, r"rewind is -1, but must be at least 0"),
    "not whole": (rewinding, (1.5,), {}, r"rewind must be a whole number or left out, not 1\.5"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_epoch_that_there_is_not_is_refused(case: str):
    make, args, changes, why = REFUSED[case]
    with pytest.raises(IsopruneError, match=why):
        make(*args, **changes)


def test_replaying_more_or_less_than_was_left_is_refused():
    with pytest.raises(
        IsopruneError, match=r"Rewound to epoch 1 of 4, there are 3 epochs to replay.*= 3, or"
    ):
        resolve(rewinding(1))
    resolve(rewinding(1, retrain=REPLAY | {"schedule": "cosine"}))  # a choice of one's own
    resolve(rewinding(None, retrain=REPLAY | {"epochs": 3}))  # only the rates are rewound
    with pytest.raises(
        IsopruneError, match=r"epochs = 5, and the dense training that lr_rewinding replays had 4"
    ):
        resolve(rewinding(None, retrain=REPLAY | {"epochs": 5}))


@pytest.mark.parametrize(
    ("dense", "why"), [({"epochs": 0}, "which has no epochs"), (DENSE | {"steps": 5}, "which is cut off by")]
)
def test_a_dense_training_that_cannot_be_replayed_is_refused(dense: dict, why: str):
    with pytest.raises(
        IsopruneError, match=rf"{why}.*Say what to replay: \{{name = \"lr_rewinding\", dense_ep"
    ):
        resolve(rewinding(None, dense=dense))
    told = {"name": "lr_rewinding", "dense_epochs": 90, "milestones": [30, 60]}
    resolve(rewinding(None, dense=dense, retrain=REPLAY | {"schedule": told}))


def test_an_epoch_that_steps_cut_off_is_refused(tmp_path: Path):
    cut_off = DENSE | {"steps": 4}
    with pytest.raises(
        IsopruneError, match=r"rewind is 3, but the dense training ended after epoch 2, as dense"
    ):
        run(rewinding(3, dense=cut_off, retrain={"epochs": 0}), Store(tmp_path))


def test_a_replay_inside_a_warm_up_is_told_too():
    around = {"name": "warm_up", "rise": 1, "schedule": "lr_rewinding"}
    done = resolve(rewinding(None, retrain=REPLAY | {"schedule": around})).retrain.schedule
    assert done.options["schedule"]["dense_epochs"] == 4
    assert done.options["schedule"]["schedule"] == {"name": "constant"}
