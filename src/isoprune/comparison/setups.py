"""The ladder of comparison setups, and on which rung each key of an experiment stands.

Source: Wang, Qin, Bai & Fu, Why is the state of neural network pruning so confusing?, 2023, arXiv 2301.05219.
"""

from __future__ import annotations

import functools
from enum import IntEnum

from isoprune.comparison.records import IGNORED, under
from isoprune.types.errors import IsopruneError, did_you_mean


class Setup(IntEnum):
    """What two compared runs share; each step of the ladder S1 to S4.2 asks for all below it.

    SX-A and SX-B are beside the ladder: the pruned network against the same shape trained from scratch, which
    have no base in common and share the budget of all training instead. They are last, since no step of the
    ladder above S1 can be asked of such a pair.
    """

    S1 = 1  # data, network, and compression or speed-up
    S2 = 2  # and the base: the very dense network
    S3_1 = 3  # and the epochs of retraining
    S3_2 = 4  # and the learning rates of retraining, with all else that steers its steps
    S4_1 = 5  # and the epochs of pruning
    S4_2 = 6  # and the learning rates of pruning
    SX_A = 7  # S1 and all epochs: of the base, of pruning, of retraining
    SX_B = 8  # S1 and all multiply-adds of training

    def __str__(self) -> str:
        name = self.name
        return name.replace("SX_", "SX-") if self >= Setup.SX_A else name.replace("_", ".")

    @property
    def demands(self) -> str:
        return _DEMANDS[self]


_DEMANDS = {
    Setup.S1: "the same data, network and compression or speed-up",
    Setup.S2: "the same dense network to start from",
    Setup.S3_1: "the same epochs of retraining",
    Setup.S3_2: "the same learning-rate schedule of retraining",
    Setup.S4_1: "the same epochs of pruning",
    Setup.S4_2: "the same learning-rate schedule of pruning",
    Setup.SX_A: "the same epochs of all training",
    Setup.SX_B: "the same multiply-adds of all training",
}


def read_setup(text: str) -> Setup:
    """Return the setup called "S3.2"; "s3_2" and "sx-b" are understood too.

    Raises:
        IsopruneError: If there is none of that name.
    """
    word = text.strip().upper().replace(".", "_").replace("-", "_")
    if word not in Setup.__members__:
        raise IsopruneError(f"Unknown setup {text!r}.{did_you_mean(text, map(str, Setup))}")
    return Setup[word]


# A key, or all keys below it, and the first setup that asks that it be the same. The order is that in which
# differences are listed. Between a key and one that begins like it, the longer counts.
RUNGS: dict[str, Setup] = {
    "data": Setup.S1,
    "model": Setup.S1,
    # What is asked for; where the sizes that came out are known, they count instead.
    "prune.ratio": Setup.S1,
    "prune.flops": Setup.S1,
    "prune.parameters": Setup.S1,
    "prune.grain": Setup.S1,
    "prune.mask": Setup.S1,
    "prune.scope": Setup.S1,
    "prune.allocation": Setup.S1,
    "prune.cap": Setup.S1,
    "prune.floor": Setup.S1,
    "prune.round_to": Setup.S1,
    "seed": Setup.S2,
    "model.weights": Setup.S2,
    "dense": Setup.S2,
    "retrain.epochs": Setup.S3_1,
    "retrain.steps": Setup.S3_1,
    "retrain.lr": Setup.S3_2,
    "retrain.schedule": Setup.S3_2,
    # The setups speak of epochs and rates alone; a rate means nothing without what turns it into steps.
    "retrain": Setup.S3_2,
    # Of pruning in one shot there are none, which is the same on both sides.
    "prune.train.epochs": Setup.S4_1,
    "prune.train.steps": Setup.S4_1,
    "prune.train": Setup.S4_2,
    "repeat": Setup.S4_1,
}

# Keys that may differ in every setup, and why.
FREE: dict[str, str] = {
    "repair": "a method: it is what is compared (but scratch gives up the base: S2)",
    "rewind": "a method: which weights retraining starts from",
    "prune.criterion": "a method: it is what is compared",
    "prune.train.penalty": "a method: what pushes the channels out",
    "retrain.penalty": "a method: what keeps the layers near isometries",
    **IGNORED,
}
# Free, and a method: not the same in two runs, they are (part of) what is compared.
METHODS = ("repair", "rewind", "prune.criterion", "prune.train.penalty", "retrain.penalty")


@functools.cache
def rung(key: str) -> Setup | None:
    """Return the first setup that requires ``key`` to be equal; None if none does.

    A key that is not known, because it is newer, is taken to matter from S1 on.
    """
    best: tuple[int, Setup | None] = (-1, Setup.S1)
    for prefix, setup in (*RUNGS.items(), *dict.fromkeys(FREE).items()):
        if under(key, prefix) and len(prefix) > best[0]:
            best = (len(prefix), setup)
    return best[1]


@functools.cache
def place(key: str) -> tuple[int, str]:
    """Return the sort key of a config key: the order in which differences are reported."""
    order = list(RUNGS)
    found = [prefix for prefix in order if under(key, prefix)]
    return (order.index(max(found, key=len)) if found else len(order), key)
