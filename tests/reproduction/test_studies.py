"""Every study expands; the networks of the published recipes are built, pruned and verified."""

from __future__ import annotations

import collections

import pytest

from isoprune.comparison import Setup, setup_of
from isoprune.comparison.records import flatten
from isoprune.experiment.config import experiment
from isoprune.experiment.resolve import resolve
from isoprune.reproduction import REPRODUCTIONS, dry_run, find, study_of, unique_networks
from isoprune.reproduction.dry_runs import sizes
from isoprune.types.errors import IsopruneError

ALL = [(name, scale) for name, r in REPRODUCTIONS.items() for scale in r.scales]
# Finding equal FLOPs prunes ResNet-34 at each of its ratios: 15 s.
EXPANDED = [
    pytest.param(*case, marks=pytest.mark.matrix) if case == ("value-of-pruning", "paper") else case
    for case in ALL
]
PUBLISHED = [name for name, scale in ALL if scale == "paper"]


@pytest.mark.parametrize(("name", "scale"), EXPANDED)
def test_every_study_expands_and_every_experiment_has_a_place(name, scale):
    reproduction = REPRODUCTIONS[name]
    study = study_of(reproduction, scale)
    places = [reproduction.place(flatten(e.as_dict())) for e in study.experiments]
    assert None not in places
    # Two experiments of one seed in one place would hide each other.
    seeds = [(place, e.seed) for place, e in zip(places, study.experiments, strict=True)]
    assert max(collections.Counter(seeds).values()) == 1


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.matrix) if n == "value-of-pruning" else n for n in PUBLISHED],
)
def test_published_tables_stand_beside_the_published_recipe(name):
    reproduction = REPRODUCTIONS[name]
    found = [reproduction.place(flatten(e.as_dict())) for e in study_of(reproduction, "paper").experiments]
    ours = {(p.panel, p.row, p.column) for p in found if p is not None}
    printed = {
        (panel, row, column)
        for panel, table in reproduction.published.items()
        for row in table.rows
        for column in table.columns
        if table.comparable and table.mean(row, column) is not None and any(panel == p for p, _, _ in ours)
    }
    assert printed <= ours


@pytest.mark.parametrize(("name", "scale"), [case for case in ALL if case[1] != "paper"])
def test_small_studies_resolve(name, scale):
    for e in study_of(REPRODUCTIONS[name], scale).experiments[:3]:
        resolve(e)


@pytest.mark.matrix
def test_equal_multiply_adds_are_kept_to_the_step():
    study = study_of(find("value-of-pruning"), "laptop")
    base = [e for e in study.experiments if e.repair.name == "scratch"]
    for cut in [e for e in study.experiments if e.dense.steps is not None]:
        dense, pruned = sizes(cut, 10)
        scratch = next(e for e in base if e.prune.ratio == cut.prune.ratio)
        per_epoch = cut.data.options["limit"] / cut.dense.batch
        spent = cut.dense.steps * dense + cut.retrain.epochs * per_epoch * pruned
        assert spent == pytest.approx(scratch.retrain.epochs * per_epoch * pruned, abs=dense / 2 + 1)


@pytest.mark.parametrize("name", ["jsv-vs-ratio", "lr-effect"])
def test_a_published_perceptron_is_built_pruned_and_verified(name):
    reproduction = find(name)
    for one in unique_networks(study_of(reproduction, "paper").experiments)[:4]:
        found = dry_run(one, reproduction.image_classes)
        error = found.result.proof
        assert error.max_abs_error <= 1e-4 * max(error.scale, 1.0)


@pytest.mark.matrix
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_network_is_built_pruned_and_verified(name):
    reproduction = REPRODUCTIONS[name]
    found = [
        dry_run(one, reproduction.image_classes)
        for one in unique_networks(study_of(reproduction, "paper").experiments)
    ]
    for one in found:
        assert one.result.proof.max_abs_error <= 1e-4 * max(one.result.proof.scale, 1.0)


@pytest.mark.matrix
def test_resnet_56_is_pruned_to_the_published_speed_ups():
    published = {0.3: (31.14, 1.45), 0.5: (49.82, 1.99), 0.7: (70.57, 3.59), 0.9: (90.39, 11.41)}
    reproduction = find("lr-schedules")
    networks = unique_networks(study_of(reproduction, "paper").experiments)
    for one in (n for n in networks if n.model.name == "resnet56"):
        found = dry_run(one, reproduction.image_classes)
        removed, speedup = published[one.prune.ratio]
        assert 100 * found.removed == pytest.approx(removed, abs=1.5)
        assert found.speedup == pytest.approx(speedup, rel=0.05)


def test_an_unknown_name_and_scale_say_what_there_is():
    with pytest.raises(IsopruneError, match=r"'lr-efect'. Did you mean 'lr-effect'"):
        find("lr-efect")
    with pytest.raises(
        IsopruneError, match=r"imagenet has no size for a laptop\. Write --scale with one of: smoke and"
    ):
        study_of(find("imagenet"), "laptop")


def test_pruned_late_and_early_differ_in_their_base():
    study = study_of(find("value-of-pruning"), "paper")
    first, second = (
        e for e in study.experiments if e.retrain.lr in (1e-2, 1e-4) and e.seed == 0 and e.prune.ratio == 0.5
    )
    grade = setup_of(experiment(first.as_dict()).as_dict(), second.as_dict())
    assert grade.setup is Setup.S1
