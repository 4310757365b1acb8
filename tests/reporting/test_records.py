"""Loading: what is found, what is refused, with the words of the remedy."""

from __future__ import annotations

import copy
import re

import msgspec
import pytest
from msgspec.structs import replace

import isoprune
from isoprune.comparison import compare
from isoprune.comparison.records import load_records, runs_of
from isoprune.reporting import report
from isoprune.reporting.pivots import pivot
from isoprune.reporting.study import make_cells
from isoprune.types import IsopruneError
from isoprune.types.json_files import sealed
from isoprune.types.record import Record, TrainingCost
from reporting.records import lr_effect, record


def _store(root, records):
    for one in records:
        path = root / "runs" / one.digest / "record.json"
        path.parent.mkdir(parents=True)
        path.write_bytes(sealed(msgspec.to_builtins(one)))


def test_a_directory_gives_back_every_record_in_it(tmp_path):
    records = lr_effect(1)
    _store(tmp_path, records)
    assert load_records(tmp_path) == sorted(records, key=lambda one: one.digest)
    assert load_records([tmp_path, str(tmp_path)]) == load_records(tmp_path)


def test_paths_come_back_in_their_order(tmp_path):
    records = lr_effect(1)[:3]
    _store(tmp_path, records)
    paths = [tmp_path / "runs" / one.digest / "record.json" for one in reversed(records)]
    assert load_records(paths) == records[::-1]


def test_half_written_files_beside_a_record_are_not_records(tmp_path):
    _store(tmp_path, [record()])
    (tmp_path / "runs" / record().digest / ".record.json.4194305.part").write_text('{"version"')
    assert load_records(tmp_path) == [record()]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"version": 2, "config": {', "is not a readable record .*delete it and run the study again"),
        (b"\xff\xfe\x00", "is not a readable record"),
        (b"", "is not a readable record"),
        (b"[1, 2]", "is JSON, but is not a record. Give a record.json"),
        (b'{"accuracy": 1}', "is JSON, but is not a record. Give a record.json"),
        (b'{"version": 7, "config": {}}', "is a record of version 7; this isoprune reads version 2"),
        (
            sealed({"version": 2, "digest": "d", "name": "n"}),
            "is not a record as isoprune writes it .*`config`",
        ),
        (b'{"version": 2, "digest": "d", "name": "n"}', "is damaged: it does not begin with a checksum"),
        (
            sealed({"version": 2, "digest": "d", "name": "n", "config": {}}).replace(b'"n"', b'"m"'),
            "is damaged: its checksum is not that of its content",
        ),
        (sealed({"version": 2, "digest": "../d", "name": "n", "config": {}}), "is not a record as"),
        (b"[" * 10**5, "is not a readable record"),
        (
            sealed({"version": 2, "digest": "d", "name": "n", "config": {}, "networks": [1]}),
            "is not a record as isoprune writes it .*networks",
        ),
        (
            sealed({"version": 2, "digest": "d", "name": "n", "config": {}, "stages": {}}),
            "is not a record as isoprune writes it .*unknown field `stages`",
        ),
    ],
)
def test_a_file_that_is_no_record_is_named(tmp_path, content, message):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(IsopruneError, match=f"{re.escape(str(path))} {message}") as caught:
        load_records(path)
    assert "\n" not in str(caught.value)


def test_missing_and_empty_places_say_what_to_give(tmp_path):
    with pytest.raises(IsopruneError, match="No such file or directory"):
        load_records(tmp_path / "nothing")
    with pytest.raises(IsopruneError, match=r"No record\.json below"):
        load_records(tmp_path)


def test_a_frame_has_what_the_records_have(tmp_path):
    records = lr_effect(2)
    _store(tmp_path, records)
    frame = isoprune.records(tmp_path)
    assert frame.height == len(records)
    by_digest = {one.digest: one for one in records}
    for row in frame.iter_rows(named=True):
        one = by_digest[row["digest"]]
        for role in ("dense", "pruned", "repaired", "retrained"):
            network = one.network(role)
            assert row[f"{role}.flops"] == network.flops
            assert row[f"{role}.test_accuracy"] == network.metrics["test_accuracy"]
            assert row[f"{role}.jsv.mean"] == network.jsv["mean"]
        assert row["retrain.lr"] == one.config["retrain"]["lr"]
        assert row["repair.gain"] == one.config["repair"].get("gain")
        assert row["removed.parameters"] == 0.916
        assert row["trainability_accuracy"] == one.trainability_accuracy


def test_words_and_numbers_in_one_column_are_words():
    advised = record()
    advised.config["retrain"]["lr"] = "auto"
    runs = runs_of([record(), advised])
    assert runs.frame["retrain.lr"].to_list() == ["0.01", "auto"]
    assert runs.frame["retrain.schedule.milestones"].to_list() == ["[10, 20]"] * 2


def test_of_several_rounds_the_last_is_in_the_frame():
    """Rounds and roles that no page knows are columns like the others."""
    one = record()
    first = replace(one.network("pruned"), round=1, flops=99_000)
    networks = [one.network("dense"), first, replace(one.network("pruned"), round=2)]
    networks.append(replace(one.network("retrained"), role="clustered", step=5))
    frame = runs_of([replace(one, networks=networks)]).frame
    assert frame["pruned.flops"].to_list() == [12_900]
    assert frame["clustered.test_accuracy"].to_list() == [networks[-1].metrics["test_accuracy"]]


def rounds(seed: int, repair: str) -> Record:
    """A recipe of steps: two rounds of pruning and retraining, then a repair."""
    one = record(seed=seed)
    pruned, retrained = one.network("pruned"), one.network("retrained")
    cost = TrainingCost(samples=100, multiply_adds=1000)
    networks = [one.network("dense")]
    for i in (1, 2):
        networks += [replace(pruned, round=i), replace(retrained, round=i, training=cost)]
    networks.append(replace(one.network("repaired"), role="mended", step=3))
    training = one.config["dense"]
    steps = [
        {"kind": "train", "role": "dense", **training},
        {
            "kind": "repeat",
            "rounds": 2,
            "cadence": {"name": "by_cycle", "ratio": 0.8},
            "steps": [
                {"kind": "prune", "role": "pruned", "criterion": "l1_norm", "grain": "weight"},
                {"kind": "rewind", "role": "rewound", "epoch": 2},
                {"kind": "retrain", "role": "retrained", **training},
            ],
        },
        {"kind": "repair", "role": "mended", "method": {"name": repair}},
    ]
    config = {key: one.config[key] for key in ("seed", "data", "model")} | {"steps": steps}
    return replace(one, digest=f"{repair}{seed}", config=config, networks=networks)


def test_cadences_of_two_ratios_have_each_its_own_ratio():
    def to(ratio: float, seed: int) -> Record:
        one = copy.deepcopy(rounds(seed, "none"))
        one.config["steps"][1]["cadence"]["ratio"] = ratio
        removals = [replace(r, ratios=dict.fromkeys(r.ratios, ratio)) for r in one.removals]
        return replace(one, digest=f"{ratio}-{seed}", removals=removals)

    cells = make_cells([to(ratio, seed) for ratio in (0.5, 0.8) for seed in (0, 1)])
    assert [(cell.ratio, len(cell.records)) for cell in cells] == [(0.5, 2), (0.8, 2)]


def test_a_recipe_of_rounds_is_read_like_any_other(tmp_path):
    records = [rounds(seed, repair) for repair in ("none", "orthp") for seed in (0, 1, 2)]
    frame = runs_of(records).frame
    assert frame["rewind"].to_list() == [2] * 6
    assert frame["prune.criterion.name"].to_list() == ["l1_norm"] * 6
    assert frame["repeat.cadence.ratio"].to_list() == [0.8] * 6
    assert frame["retrained.training.samples"].to_list() == [200] * 6
    assert "mended" in str(frame.columns)
    page = report(records, tmp_path / "page.html").read_text()
    assert "rewound to epoch 2 + OrthP" in page
    assert compare(records).differences[0].seeds == (0, 1, 2)
    assert pivot(records, rows="repair").sides == (("none",), ("orthp",))
