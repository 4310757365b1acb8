"""The arena of repairs: the runs of every way to start well after pruning, and where each stands."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import structs

from isoprune.comparison.records import Flat
from isoprune.experiment.choice import Chain, Choice
from isoprune.experiment.config import Experiment
from isoprune.reproduction.arena import changed, in_place
from isoprune.reproduction.claims import TEST_ACCURACY, VALUES, Cells, Place, Section, ratio_of
from isoprune.reproduction.ranking import ranking

BASELINE = "grail"
REPAIR_BATCH = 100  # samples in a batch that a repair looks at
FEW, MANY = 128, 2000
# Ways that look at no data; at data, so many samples; criteria that bring their repair; published ones whose
# BatchNorm statistics are then taken from the same data.
_BLIND = ("none", "merging", "lbyl", "folding", "intra_fusion")
_SEEING = (
    ("grail",), ("asr",), ("two_stage",), ("reconstruct",), ("auto",), ("batchnorm",),
    ("folding", "batchnorm"), ("intra_fusion", "batchnorm"),
)  # fmt: skip
_CHOOSING = ("thinet", "channel_lasso", "reconstruction")
_CHOOSING_PLAINLY = ("osscar",)


def _each(one: Experiment) -> Iterator[Experiment]:
    for name in _BLIND:
        yield with_start(one, Choice(name))
    for samples in (FEW, MANY):
        for names in _SEEING:
            steps = [{"name": name, **reads(name, samples)} for name in names]
            yield with_start(one, Chain.read(steps if len(steps) > 1 else steps[0]))
        for name in _CHOOSING_PLAINLY:
            after = Choice("batchnorm", reads("batchnorm", samples))
            yield with_start(one, after, Choice(name, reads(name, samples)))
    for name in _CHOOSING:
        yield with_start(one, Choice("none"), Choice(name, reads(name, MANY)))


def reads(name: str, samples: int) -> dict[str, int | str]:
    """Return the options by which a repair or a criterion reads so many images."""
    if name in _BLIND:  # the statistics are taken from data by what follows
        return {"variance": "kept"} if name == "folding" else {}
    return {"batches": -(-samples // REPAIR_BATCH), "samples": samples}


def with_start(one: Experiment, repair: Choice, criterion: Choice | None = None) -> Experiment:
    """Return an experiment with another repair, and perhaps another criterion."""
    prune = None if criterion is None else structs.replace(one.prune, criterion=criterion)
    return changed(one, prune=prune, repair=repair)


# A run of each way in place of one of the repair "every".
with_every_repair = in_place(lambda one: one.repair, _each)


def place_repairs_arena(flat: Flat) -> Place:
    """Return a run's place: a table for each network and length of retraining, a row for each way."""
    criterion, repair = str(flat["prune.criterion.name"]), str(flat.get("repair.name", "none"))
    row = repair if criterion == "l1_norm" else criterion
    if FEW in (flat.get("repair.samples"), flat.get("repair.1.samples")):
        row += f", {FEW} images"
    epochs = flat["retrain.epochs"]
    return Place(f"{flat['model.name']}, {epochs} epoch{'s' * (epochs != 1)}", row, ratio_of(flat))


def repairs_sections(cells: Cells) -> list[Section]:
    """Return rankings without retraining, of the runs with the shortest one, and after each retraining."""
    panels = list(dict.fromkeys(place.panel for place in cells))
    before = {panel.rpartition(", ")[0]: panel for panel in reversed(panels)}
    values = [(VALUES["repaired.test_accuracy"], panel) for panel in before.values()]
    values += [(TEST_ACCURACY, panel) for panel in panels]
    made = [ranking(cells, panel, BASELINE, value=value, kind="ways") for value, panel in values]
    return [one for one in made if one is not None]
