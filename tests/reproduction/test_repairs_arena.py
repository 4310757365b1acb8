"""The arena of repairs: its runs, their places, and rankings without and after retraining."""

from __future__ import annotations

import collections

from isoprune.comparison.records import flatten
from isoprune.experiment.resolve import resolve
from isoprune.reproduction import find, study_of
from isoprune.reproduction.repairs_arena import repairs_sections
from reproduction.test_arena import run as record_of

# Ways that look at data, with few images and with many.
SEEING = {
    "grail",
    "reconstruct",
    "auto",
    "batchnorm",
    "folding + batchnorm",
    "osscar",
    "asr",
    "two_stage",
    "intra_fusion + batchnorm",
}


def test_every_way_starts_from_the_same_networks_and_reads_as_many_images_as_its_name_says():
    arena = find("repairs-arena")
    experiments = study_of(arena, "laptop").experiments
    rows = collections.defaultdict(list)
    for e in experiments:
        rows[arena.place(flatten(e.as_dict())).row].append(e)
    assert {len(of_row) for of_row in rows.values()} == {3 * 3 * (5 + 2)}, "networks, seeds, ratios"
    assert {
        "none",
        "grail",
        "grail, 128 images",
        "folding + batchnorm",
        "thinet",
        "reconstruction",
        "osscar",
    } <= set(rows)
    few = {name for name in rows if name.endswith("128 images")}
    assert few == {f"{name}, 128 images" for name in SEEING}
    for row, of_row in rows.items():
        one = resolve(of_row[0])
        if row.partition(",")[0] in {"osscar"}:
            few, choice = row.endswith("128 images"), one.prune.criterion.options
            assert (choice["samples"], choice["batches"]) == ((128, 2) if few else (2000, 20))
        told = {"samples": 128, "batches": 2} if row.endswith("128 images") else None
        options = one.repair.options
        last = options["steps"][-1] if "steps" in options else options
        if told:
            assert {key: last[key] for key in told} == told
        assert one.repair.name != "every"
    dense = {repr(e.steps[0]) for e in experiments if e.model.name == "mlp_7"}
    assert len(dense) == 1


def test_a_page_ranks_without_retraining_once_and_after_each_retraining():
    arena = find("repairs-arena")
    cells = {}
    for e in study_of(arena, "smoke").experiments:
        place = arena.place(flatten(e.as_dict()))
        cells.setdefault(place, {})[e.seed] = record_of(0.5 + 0.01 * len(place.row), seed=e.seed)
    titles = [section.title for section in repairs_sections(cells)]
    assert titles == [
        "mlp_7, 1 epoch: ranked by test accuracy without retraining, %",
        "mlp_7, 1 epoch: ranked",
    ]
