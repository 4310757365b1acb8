"""Finished probes are kept: whole, beside those of others, and only for the very same training."""

from __future__ import annotations

import importlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import isoprune
from isoprune.training import Watch, probe_cache
from isoprune.training.rates import Probe
from isoprune.types import Data, IsopruneError
from isoprune.types.samples import Split

from .small import small_net, small_splits

advising = importlib.import_module("isoprune.verbs.advise")  # the name is that of the function too
HOW = {"epochs": 2, "batch": 10}


class Killed(BaseException):
    """As sudden as SIGKILL: nothing in the library may catch it."""


def cache(folder: Path) -> probe_cache.ProbeCache:
    return probe_cache.ProbeCache(folder / "probes.json", "of this training", "Give another path.")


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the rates of all probes that begin, as they begin."""
    rates: list[float] = []

    def fit(model: Any, data: Any, training: Any, **how: Any) -> Any:
        rates.append(training.lr)
        return real(model, data, training, **how)

    real = advising.fit
    monkeypatch.setattr(advising, "fit", fit)
    return rates


def killed_in_the_third_probe(monkeypatch: pytest.MonkeyPatch, path: Path, **how: Any) -> None:
    """Retrain until the third probe has trained an epoch."""
    begun: list[float] = []

    def fit(model: Any, data: Any, training: Any, **more: Any) -> Any:
        begun.append(training.lr)
        return real(model, data, training, **more, watch=Watch(on_epoch=kill))

    def kill(row: Any) -> None:
        if len(begun) == 3 and row["epoch"]:
            raise Killed

    real = advising.fit
    with monkeypatch.context() as patched:
        patched.setattr(advising, "fit", fit)
        with pytest.raises(Killed):
            retrained(saving=path, **how)


def retrained(net: nn.Module | None = None, data: Any = None, **how: Any) -> isoprune.Pruned:
    splits = small_splits() if data is None else data
    return isoprune.retrain(net or small_net(), splits, **HOW | how)


def bits(made: isoprune.Pruned) -> Any:
    """Return all of a retraining but what it took."""

    def untimed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: untimed(inner) for key, inner in value.items() if key != "seconds"}
        return [untimed(inner) for inner in value] if isinstance(value, list | tuple) else value

    return untimed(made.history), {key: t.tolist() for key, t in made.model.state_dict().items()}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_interrupted_in_the_third_probe_it_goes_on_with_the_third(optimizer, monkeypatch, probed, tmp_path):
    want = bits(retrained(optimizer=optimizer))
    first, second, *rest = probed
    assert rest
    killed_in_the_third_probe(monkeypatch, tmp_path / "state", optimizer=optimizer)
    assert [p["lr"] for p in kept(tmp_path)] == sorted([first, second])
    probed.clear()
    assert bits(retrained(optimizer=optimizer, saving=tmp_path / "state")) == want
    assert probed == rest
    probed.clear()
    # What has ended is there at once.
    assert bits(retrained(optimizer=optimizer, saving=tmp_path / "state")) == want
    assert probed == []


def kept(folder: Path) -> list[dict[str, Any]]:
    return probe_cache.read_json(folder / "state-probes.json", remedy="")["probes"]


def other_weights() -> nn.Module:
    net = small_net()
    with torch.no_grad():
        net[1].weight.add_(0.1)
    return net


def other_labels() -> Data:
    splits = small_splits()
    return Data(Split(splits.train.inputs, (splits.train.targets + 1) % 3), splits.validation)


TEACHER = {"distill": {"weight": 0.5, "temperature": 2.0}, "dense": small_net()}


@pytest.mark.parametrize(
    "change",
    [
        {"net": other_weights()},
        {"data": other_labels()},
        {"epochs": 3},
        {"steps": 4},
        {"batch": 9},
        {"schedule": "cosine"},
        {"optimizer": "adamw"},
        {"momentum": 0.5},
        {"weight_decay": 0.0},
        {"loop": {"nesterov": True}},
        {"loss": torch.nn.functional.cross_entropy},
        {"seed": 1},
        TEACHER,
    ],
    ids=lambda change: next(iter(change)),
)
def test_probes_of_another_training_are_never_taken(change, monkeypatch, probed, tmp_path, caplog):
    want = bits(retrained(**change))
    alone = list(probed)
    killed_in_the_third_probe(monkeypatch, tmp_path / "state")
    probed.clear()
    assert bits(retrained(**change, saving=tmp_path / "state")) == want
    assert probed == alone
    assert "holds no probes of this training. The probes are run again." in caplog.text


def test_probes_of_another_teacher_are_not_taken(monkeypatch, probed, tmp_path):
    killed_in_the_third_probe(monkeypatch, tmp_path / "state", **TEACHER)
    probed.clear()
    retrained(**TEACHER | {"dense": other_weights()}, saving=tmp_path / "state")
    assert len(probed) >= 3


def test_a_damaged_file_is_run_again_and_said(monkeypatch, probed, tmp_path, caplog):
    want = bits(retrained())
    alone = list(probed)
    killed_in_the_third_probe(monkeypatch, tmp_path / "state")
    file = tmp_path / "state-probes.json"
    file.write_bytes(file.read_bytes()[:-9])
    probed.clear()
    assert bits(retrained(saving=tmp_path / "state")) == want
    assert probed == alone
    assert "state-probes.json is damaged" in caplog.text


def test_data_that_cannot_be_cut_is_refused_as_without_a_path(tmp_path):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter([(torch.zeros(5, 1, 2, 3, dtype=torch.float64), torch.arange(5) % 3)])

    for saving in (None, tmp_path / "state"):
        with pytest.raises(IsopruneError, match="a loader without places of its samples does not let it"):
            retrained(data=torch.utils.data.DataLoader(Stream(), batch_size=None), batch=None, saving=saving)


def test_probes_that_cannot_be_kept_are_told_before_the_first(probed, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(IsopruneError, match=r"Probes cannot be kept in .*Give another path: saving="):
        retrained(saving=tmp_path / "file" / "state")
    assert probed == []


def test_kept_probes_come_back_as_they_were(tmp_path):
    store = cache(tmp_path / "deep")
    assert store.read() == {}
    store.require_writable()
    probes = [Probe(0.1, 8, 1 / 3, 2.5), Probe(0.03, 8, 0.1 + 0.2, 1e-17), Probe(1.0, 8, None, None)]
    for probe in probes:
        store.add(probe)
    assert store.read() == {probe.lr: probe for probe in probes}
    assert list(tmp_path.rglob("*.part")) == []


def test_processes_that_keep_probes_at_the_same_time_keep_them_all(tmp_path, monkeypatch):
    store, write = cache(tmp_path), probe_cache.write_probes

    def slowly(*given):
        time.sleep(0.2)
        write(*given)

    monkeypatch.setattr(probe_cache, "write_probes", slowly)
    probes = [Probe(lr, 8, 0.5, 0.5) for lr in (0.1, 0.2, 0.3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(store.add, probes))
    assert store.read() == {probe.lr: probe for probe in probes}
