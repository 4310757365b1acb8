"""The forecast's study: which networks are drawn, its rows, the paper's claim; a tiny study to its end."""

from __future__ import annotations

import collections
import math

import pytest

from experiment.tiny import one_thread
from isoprune.comparison.records import flatten
from isoprune.experiment.pipeline import run
from isoprune.experiment.recipe_steps import placed
from isoprune.experiment.resolve import resolve
from isoprune.experiment.store import Store
from isoprune.methods.criteria import CRITERIA
from isoprune.reproduction import find, study_of, tables
from isoprune.reproduction.claims import CONFIRMED, NOT_CONFIRMED, NOT_TESTABLE, Place
from isoprune.reproduction.forecasts.jsv_claim import forecast_rows, forecast_sections, jsv_foretells
from isoprune.reproduction.forecasts.networks import RATIOS
from isoprune.types.method import method_of
from isoprune.types.record import MeasureRecord, NetworkRecord, Record, TrainingCost

FORECAST = find("forecast")


def drawn(scale: str, networks: int | None = None):
    part = f'study.steps.1.criterion=[{{name = "drawn", networks = {networks}}}]'
    return study_of(FORECAST, scale, [part] if networks else []).experiments


@pytest.fixture(scope="module")
def laptop():
    """The first ten networks of each family and data set."""
    return drawn("laptop", 10)


def network_of(experiment) -> str:
    """Return what names the network that is retrained: all steps before."""
    return repr((experiment.seed, experiment.data, experiment.model, experiment.steps[:3]))


def test_a_smaller_study_is_the_beginning_of_a_larger_one(laptop):
    small = [repr(e.as_dict()) for e in drawn("laptop", 3)]
    assert len(small) == 4 * 2 * 3 * 6
    assert small == [repr(e.as_dict()) for e in laptop[: len(small)]]


def test_every_family_and_data_set_has_as_many_wherever_it_is_stopped(laptop):
    for stop in (48, 240, 480):
        counts = collections.Counter((e.model.name, e.data.name) for e in laptop[:stop])
        assert len(counts) == 8
        assert len(set(counts.values())) == 1


def test_each_network_is_retrained_at_two_budgets_and_three_rates(laptop):
    retrained = collections.defaultdict(set)
    for e in laptop:
        retrained[network_of(e)].add((e.retrain.epochs, e.retrain.lr))
    assert len(retrained) == 4 * 2 * 10
    for own in retrained.values():
        assert len(own) == 6
        assert len({epochs for epochs, _ in own}) == 2


def test_what_is_drawn_goes_together(laptop):
    ratios = collections.defaultdict(collections.Counter)
    for e in laptop:
        facts = method_of(CRITERIA[e.prune.criterion.name])
        assert e.prune.grain in facts.grains
        assert e.prune.ratio in RATIOS[e.prune.grain]
        assert e.seed in range(3)
        if facts.repair or (e.model.name in ("mlp_7", "lenet_5")):
            assert e.repair.name != "batchnorm"
        assert not (facts.repair and e.repair.name != "none")
        ratios[e.model.name, e.data.name, e.prune.grain][e.prune.ratio] += 1
    assert not set(RATIOS["channel"]) & set(RATIOS["weight"]), "a ratio is of one grain"
    for own in ratios.values():
        assert max(own.values()) - min(own.values()) <= 6, "one network more or less"


@pytest.mark.matrix
def test_the_whole_study_has_hundreds_of_networks_of_all_criteria_and_many_repairs():
    whole = drawn("laptop")
    assert len({network_of(e) for e in whole}) == 2 * (64 + 3 * 48) >= 400
    assert {e.prune.criterion.name for e in whole} == CRITERIA.keys() - {"karnin"}
    assert len({e.repair.name for e in whole}) == 12


def record(
    jsv: float, reached: float, *, lr: float = 0.1, epochs: int = 4, ratio: float = 0.5, number: int = 0
) -> Record:
    """Return a retraining of a network of this mean JSV."""
    sizes = {"parameters": 10, "nonzero": 10, "flops": 100, "step": 1}
    small = sizes | {"nonzero": 4, "flops": 25}
    taken = {
        "jsv": MeasureRecord({"log_jsv_mean": math.log10(jsv), "none": None}, 0.25),
        "own": MeasureRecord(refused="no"),
    }
    networks = [
        NetworkRecord(role="dense", digest="d", metrics={"test_accuracy": 0.9}, **sizes),
        NetworkRecord(
            role="repaired", digest=f"net-{number}", metrics={"test_accuracy": 0.2}, jsv={"mean": jsv},
            measures=taken, **small,
        ),
        NetworkRecord(
            role="retrained", digest=f"{number}-{lr}-{epochs}", seconds=3.0,
            metrics={"test_accuracy": reached, "validation_accuracy": reached - 0.01},
            training=TrainingCost(400, 10), **small,
        ),
    ]  # fmt: skip
    config = {
        "data": {"name": "digits"},
        "model": {"name": "net"},
        "dense": {"epochs": 2, "lr": 0.1},
        "prune": {"ratio": ratio, "grain": "channel", "criterion": {"name": "l1_norm"}},
        "repair": {"name": "none"},
        "retrain": {"epochs": epochs, "lr": lr},
        "seed": 1,
    }
    return Record(digest=f"{number}-{lr}-{epochs}-{ratio}", name="made", config=config, networks=networks)


def test_a_row_says_what_was_retrained_and_what_came_of_it():
    short, full = forecast_rows([record(0.1, 0.6, epochs=1), record(0.1, 0.8)])
    assert (short["budget"], full["budget"]) == ("short", "full")
    assert {key: full[key] for key in list(full)[:18]} == {
        "network": "net-0", "family": "net", "data": "digits", "grain": "channel", "criterion": "l1_norm",
        "repair": "none", "ratio": 0.5, "seed": 1, "budget": "full", "samples": 400, "lr": 0.1,
        "dense_accuracy": 0.9, "before_accuracy": 0.2, "accuracy": 0.8, "validation_accuracy": 0.79,
        "seconds": 3.0, "parameters_left": 0.4, "flops_left": 0.25,
    }  # fmt: skip
    rest = {key: full[key] for key in list(full)[18:]}
    assert rest == {"jsv": 0.1, "m.log_jsv_mean": -1.0, "m.none": None, "s.jsv": 0.25}
    head, first, _ = tables.as_csv([short, full]).splitlines()
    assert head.split(",") == list(full)
    assert first.split(",")[-2:] == ["", "0.25"], "what is not finite is empty"


def cells_of(order):
    """Return cells of 20 networks at two ratios, of JSV 2^i and an accuracy that rises with ``order(i)``."""
    made = {}
    for i in range(20):
        for ratio in (0.5, 0.9):
            # The larger ratio has larger JSVs and lower accuracies: only a ratio's own are compared.
            jsv, reached = 2.0**i * (100 if ratio == 0.9 else 1), 0.5 + 0.01 * order(i) - 0.4 * (ratio == 0.9)
            one = record(jsv, reached, ratio=ratio, number=i + 100 * (ratio == 0.9))
            made[Place("net, 4 epochs", f"{i}", f"{ratio}")] = {0: one}
    return made


def says_nothing(i: int) -> int:
    """Even ones rise below odd ones that fall: 100 of 190 pairs are in order."""
    return i // 2 if i % 2 == 0 else 19 - i // 2


@pytest.mark.parametrize(
    ("order", "word", "tau"),
    [(lambda i: i, CONFIRMED, 1.0), (lambda i: -i, NOT_CONFIRMED, -1.0), (says_nothing, NOT_TESTABLE, None)],
    ids=["rises", "falls", "says nothing"],
)
def test_the_claim_is_judged_within_ratios(order, word, tau):
    # One pair the other way round: taus that are all equal have no spread.
    cells = cells_of(lambda i: order(i ^ 1 if i < 2 else i))
    verdict = jsv_foretells(FORECAST, cells)
    assert verdict.word == word
    judged, run_ = forecast_sections(cells)
    assert judged.table.rows[0][5] == word
    if tau is not None:
        assert judged.table.rows[0][3].startswith(f"{tau * (1 - 2 / 190):+.2f}".replace("-", "−"))
    assert run_.table.rows[0][:3] == ("net", "digits", "40")


def test_without_runs_there_is_nothing_to_judge():
    assert jsv_foretells(FORECAST, {}).word == NOT_TESTABLE
    assert forecast_sections({}) == []


class Killed(Exception):
    """The process ends here."""


@pytest.mark.matrix
def test_four_networks_to_the_end_killed_and_resumed_have_the_same_rows(tmp_path):
    settings = ["data.limit=200", 'measure.measures=["jsv", "size"]']
    part = 'study.steps.1.criterion=[{name = "drawn", networks = 2}]'
    experiments = study_of(FORECAST, "smoke", [*settings, part]).experiments
    assert len({network_of(e) for e in experiments}) == 4
    some = [e for e in experiments if e.retrain.lr == 0.05]

    def rows(store, on_event=lambda _: None):
        records = [run(e, store, on_event=on_event) for e in some]
        found = forecast_rows(records)
        return [{k: v for k, v in row.items() if not k.startswith("s.") and k != "seconds"} for row in found]

    def kill(event):
        seen.append(event)
        if len(seen) == 8:
            raise Killed

    seen = []
    with one_thread():
        whole = rows(Store(tmp_path / "whole"))
        with pytest.raises(Killed):
            rows(Store(tmp_path / "killed"), kill)
        assert rows(Store(tmp_path / "killed")) == whole
    assert {row["budget"] for row in whole} == {"short", "full"}
    measured = {row["network"]: {k: v for k, v in row.items() if k.startswith("m.")} for row in whole}
    assert len(measured) == 4
    assert all(row | measured[row["network"]] == row for row in whole)
    kept = list((tmp_path / "whole").rglob("measure-*.json"))
    names = resolve(some[0]).measure.measures
    assert len(kept) == 4 * len(names), "once a network, whatever starts from it"
    digests = {placed(resolve(e))[2].digest for e in some}
    assert {file.parent.name for file in kept} == digests == set(measured)


def test_every_run_has_a_line_of_its_own(laptop):
    places = collections.Counter((FORECAST.place(flatten(e.as_dict())), e.seed) for e in laptop)
    assert set(places.values()) == {1}
