"""What a recipe says while it trains: where it is, the accuracy so far, and how long it goes on."""

from __future__ import annotations

import pytest

from isoprune.experiment.delivery import _in_words

EPOCH = {"stage": "retrained", "epoch": 3, "epochs": 10, "accuracy": 0.9123, "seconds": 30.0}


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (EPOCH, "retrained network: epoch 3 of 10, validation accuracy 91.23%, about 3 min 30 s to go"),
        (EPOCH | {"epoch": 10}, "retrained network: epoch 10 of 10, validation accuracy 91.23%"),
        (EPOCH | {"accuracy": None, "seconds": 0.0}, "retrained network: epoch 3 of 10"),
        ({"probe": 2, "probes": 6}, "looking for the learning rate: 2 of at most 6 rates tried"),
    ],
)
def test_an_epoch_says_accuracy_and_what_is_left(event, words):
    assert _in_words(event) == words
