"""A recipe retrains by the fastest steps here; its folder keeps them, whatever is measured later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isoprune.experiment import delivery_request
from isoprune.experiment.delivery_request import Request, TimingRequest, choose, claim
from isoprune.training.loop import PLAIN, Loop
from isoprune.types import IsopruneError

DATA = '{name = "digits", limit = 150, size = 8}'
SMALL = ("model.width=8", "model.depth=3")


def request(*settings):
    return Request("mlp_7", DATA, {"ratio": 0.5}, epochs=2, dense_epochs=1, settings=(*SMALL, *settings))


def made(asked, out, monkeypatch, loop):
    """Return how the recipe's retraining takes its steps, where ``loop`` is measured to be the fastest."""
    measured = []

    def fastest(_model, inputs, targets, *, steps):
        measured.append((len(inputs), len(targets), steps))
        return loop, {PLAIN: 10.0, loop: 20.0}

    monkeypatch.setattr(delivery_request, "fastest_loop", fastest)
    out.mkdir(exist_ok=True)
    told = []
    found = claim(asked, out, choose(asked, out, TimingRequest(), told.append))
    how = found.experiment.retrain
    return (how.precision, how.channels_last), measured, told


def test_the_folder_keeps_what_was_measured_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fast = Loop("bf16", channels_last=True)
    how, measured, told = made(request(), tmp_path / "o", monkeypatch, fast)
    assert how == ("bf16", True)
    assert measured == [(64, 64, 2 * 3)], "two epochs of three batches, of 64 at most"
    assert told[-1] == "steps in bfloat16, channels last: 20 samples a second, plain 10"
    how, measured, _ = made(request(), tmp_path / "o", monkeypatch, PLAIN)
    assert how == ("bf16", True)
    assert not measured
    assert made(request(), tmp_path / "other", monkeypatch, PLAIN)[0] == ("full", False)


def test_who_says_how_steps_are_taken_is_not_overruled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = request('retrain.precision="full"')
    how, measured, _ = made(asked, tmp_path / "o", monkeypatch, Loop("bf16"))
    assert (how, measured) == (("full", False), [])


@pytest.mark.parametrize("steps", [{"lr": 1.0}, {"precision": "fp8"}, 3])
def test_a_folder_that_says_more_than_how_steps_are_taken_is_refused(tmp_path, monkeypatch, steps):
    made(request(), tmp_path / "o", monkeypatch, PLAIN)
    file = tmp_path / "o/recipe.json"
    facts = {key: value for key, value in json.loads(file.read_text()).items() if key != "checksum"}
    delivery_request.write_json(file, {**facts, "steps": steps})
    with pytest.raises(IsopruneError, match=r"recipe\.json"):
        choose(request(), tmp_path / "o", TimingRequest(), lambda _: None)
