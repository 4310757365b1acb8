"""Measures of networks that are retrained next: of training data alone, once a network, kept beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from experiment import tiny as made
from experiment.tiny import HERE, roles, tiny
from isoprune.comparison.records.frame import numbers_of, records
from isoprune.experiment.config import experiment
from isoprune.experiment.pipeline import run, splits_of
from isoprune.experiment.resolve import resolve
from isoprune.experiment.store import Store
from isoprune.methods.measures import MEASURES
from isoprune.types import IsopruneError

pytestmark = pytest.mark.usefixtures("_one_thread")

OWN = f"{HERE}:measured"


def measuring(*measures: Any, **more: Any) -> dict[str, Any]:
    return {"samples": 4, "bins": 8, "measures": list(measures), "batches": 2, **more}


@pytest.fixture(autouse=True)
def _nothing_seen():
    made.SEEN.clear()


def test_the_network_that_is_retrained_next_has_them(tmp_path: Path):
    measures = measuring({"name": OWN, "scale": 0.5}, f"{HERE}:refusing")
    record = run(tiny(measure=measures), Store(tmp_path))
    networks = roles(record)
    assert [role for role, network in networks.items() if network.measures] == ["repaired"]
    own, refusing = networks["repaired"].measures[OWN], networks["repaired"].measures[f"{HERE}:refusing"]
    assert own.numbers == {"scaled": networks["repaired"].parameters / 2, "none": None}
    assert own.seconds > 0
    assert (refusing.numbers, refusing.refused) == ({}, "It is of no network. Leave it out.")
    numbers = numbers_of(record)
    assert numbers["repaired.measure.scaled"] == own.numbers["scaled"]
    assert numbers["repaired.measure.none"] is None
    assert numbers[f"repaired.measure_seconds.{OWN}"] == own.seconds
    assert f"repaired.measure_seconds.{HERE}:refusing" not in numbers
    assert records(tmp_path)["repaired.measure.scaled"].to_list() == [own.numbers["scaled"]]


@pytest.mark.parametrize("grain", ["channel", "weight"])
def test_a_measure_knows_what_went(tmp_path: Path, grain: str):
    record = run(tiny(prune={"ratio": 0.5, "grain": grain}, measure=measuring("size")), Store(tmp_path))
    networks = roles(record)
    left = networks["repaired"].measures["size"].numbers
    parts = {"parameters_left": "nonzero", "flops_left": "flops"}
    for number, what in parts.items():
        assert left[number] == pytest.approx(
            getattr(networks["repaired"], what) / getattr(networks["dense"], what)
        )


def test_measures_see_training_data_alone(tmp_path: Path):
    chosen = tiny(measure=measuring(OWN, batches=None))
    run(chosen, Store(tmp_path))
    splits = splits_of(resolve(chosen))
    seen = torch.cat(made.SEEN).unique(dim=0)
    train, *others = (
        torch.cat([inputs.flatten(1) for inputs, _ in split.batches(torch.arange(len(split)).split(64))])
        for split in (splits.train, splits.validation, splits.test)
    )
    assert torch.equal(seen, train.unique(dim=0))
    assert not any((seen == sample).all(1).any() for other in others for sample in other)


def test_a_network_is_measured_once_however_many_retrainings_start_from_it(tmp_path: Path):
    store = Store(tmp_path)
    for lr in (0.05, 0.02, 0.01):
        retrain = {"epochs": 1, "lr": lr, "batch": 50}
        run(tiny(measure=measuring(OWN), retrain=retrain), store)
    assert sum(map(len, made.SEEN)) == 2 * 50, "two batches, once"


def test_a_measure_can_be_added_to_networks_that_are_trained(tmp_path: Path):
    store = Store(tmp_path)
    first = run(tiny(), store)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    second = run(tiny(measure=measuring("size")), store)
    third = run(tiny(measure=measuring("size", OWN)), store)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    digests = [{n.digest for n in record.networks} for record in (first, second, third)]
    assert digests[0] == digests[1] == digests[2]
    # What was measured before is not measured again: its seconds are those of the first time.
    assert roles(second)["repaired"].measures["size"] == roles(third)["repaired"].measures["size"]
    assert set(roles(third)["repaired"].measures) == {"size", OWN}


def test_a_damaged_file_is_measured_again_and_said(tmp_path: Path):
    store, said = Store(tmp_path), []
    record = run(tiny(measure=measuring(OWN)), store)
    folder = store.folder(roles(record)["repaired"].digest)
    [file] = folder.glob("measure-*.json")
    file.write_text(file.read_text().replace("scaled", "scalet"))
    again = run(tiny(measure=measuring(OWN), retrain={"epochs": 0}), store)
    assert not any(network.measures for network in again.networks), "nothing is retrained"
    retrain = {"epochs": 1, "lr": 0.1, "batch": 50}
    again = run(tiny(measure=measuring(OWN), retrain=retrain), store, on_event=lambda e: said.append(e))
    assert [e["say"] for e in said if "measured again" in e.get("say", "")]
    assert roles(again)["repaired"].measures[OWN].numbers == roles(record)["repaired"].measures[OWN].numbers


def test_all_are_those_of_the_table_and_their_defaults_are_written_down():
    done = resolve(tiny(measure=measuring() | {"measures": "all"})).as_dict()
    assert [one["name"] for one in done["measure"]["measures"]] == list(MEASURES)
    assert resolve(experiment(done)).as_dict() == done


@pytest.mark.parametrize(
    ("measures", "why"),
    [
        (["jvs"], r"Unknown measure 'jvs'\. Did you mean 'jsv'\?"),
        (
            [{"name": "jsv", "sample": 3}],
            r"Unknown option 'sample' of measure 'jsv' \(measure\.measures\[0\]\)",
        ),
        (["size", "size"], r"measure\.measures has 'size' 2 times\. Name each measure once\."),
    ],
)
def test_what_is_no_measure_is_refused_before_anything_is_trained(measures, why):
    with pytest.raises(IsopruneError, match=why):
        resolve(tiny(measure=measuring(*measures)))
