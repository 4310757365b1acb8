"""The arena: the runs of every criterion that knows a grain, where each stands, and its page."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from msgspec import structs

from isoprune.comparison.records import Flat
from isoprune.experiment.config import Choice, Experiment, Pruning
from isoprune.experiment.grid import Study
from isoprune.experiment.step_types import Repair
from isoprune.methods.criteria import CRITERIA
from isoprune.reproduction.claims import Cells, Place, Section, ratio_of
from isoprune.reproduction.rank_correlation import correlations
from isoprune.reproduction.ranking import ranking
from isoprune.reproduction.repaired_order import orders, repaired_panels
from isoprune.types.method import TRAINS, method_of

EVERY = "every"
BASELINE = "l1_norm"
BATCHES = 4  # that a criterion looks at
# Of single weights the order is that of l1_norm, and of snip.
_SAME = {"weight": ("l2_norm", "taylor")}
# What keeps all within seconds (the exact diagonal takes a backward pass for every output), and what suits
# trained networks: the statistics that their BatchNorm layers hold.
_OPTIONS: dict[str, dict[str, Any]] = {
    "obd": {"draws": 2},
    "obc": {"block": 128},
    "edge_popup": {"train_samples": 4000},
    "obs": {"samples": 128},
    "woodfisher": {"samples": 128},
    "c_obd": {"samples": 256},
    "grasp": {"statistics": "network"},
}
_SHORT = 2  # epochs of retraining, where a table does not say how many


def in_place(
    of: Callable[[Experiment], Choice], each: Callable[[Experiment], Iterable[Experiment]]
) -> Callable[[Study, int], Study]:
    """Return what exchanges an experiment whose choice ``of`` is "every" for those that ``each`` makes."""

    def complete(study: Study, _: int) -> Study:
        made = (each(one) if of(one).name == EVERY else (one,) for one in study.experiments)
        return dataclasses.replace(study, experiments=tuple(chain.from_iterable(made)))

    return complete


def changed(one: Experiment, *, prune: Pruning | None = None, repair: Choice | None = None) -> Experiment:
    """Return an experiment that prunes, or repairs, otherwise."""

    def step_of(step: Any) -> Any:
        if step is one.prune and prune is not None:
            return prune
        if repair is not None and isinstance(step, Repair):
            return structs.replace(step, method=repair)
        return step

    return structs.replace(one, steps=tuple(map(step_of, one.steps)))


def criteria_for(pruning: Pruning, model: str) -> Iterator[Choice]:
    """Yield all criteria that know the grain and need nothing that the network lacks, within seconds."""
    for name, criterion in CRITERIA.items():
        facts, grain = method_of(criterion), pruning.grain
        if grain not in facts.grains or "history" in facts.needs or name in _SAME.get(grain, ()):
            continue
        if "batchnorm" in facts.needs and not has_batchnorm(model):
            continue
        options = dict(_OPTIONS.get(name, {}))
        if "data" in facts.needs:
            options["batches"] = BATCHES
        if options.keys() & TRAINS:
            options["ratio"] = pruning.ratio
        yield Choice(name, options)


def has_batchnorm(model: str) -> bool:
    """Whether the networks of a name have BatchNorm layers."""
    return model.startswith(("resnet", "vgg"))


def _each(one: Experiment) -> Iterator[Experiment]:
    for criterion in criteria_for(one.prune, one.model.name):
        yield changed(one, prune=structs.replace(one.prune, criterion=criterion))


# A run of each criterion in place of one of the criterion "every".
with_every_criterion = in_place(lambda one: one.prune.criterion, _each)


def place_arena(flat: Flat) -> Place:
    """Return a run's place: a table for each network, grain and budget, one of grains, tickets, repairs."""
    model, grain = str(flat["model.name"]), str(flat.get("prune.grain", "channel"))
    allocation = flat.get("prune.allocation", "uniform")
    name, repair = str(flat.get("prune.criterion.name")), str(flat.get("repair.name", "none"))
    if (
        flat.get("rewind") is not None
        or repair == "scratch"
        or flat.get("retrain.schedule.name") == "constant"
    ):
        return Place(f"{model}, tickets", _ticket(flat, repair), ratio_of(flat))
    epochs = int(flat["retrain.epochs"])
    if epochs <= _SHORT and grain != "channel" and allocation == "uniform":
        return Place(f"{model}, grains", grain, ratio_of(flat))
    row = name if allocation != "erk" else f"{name}, ERK"
    panel = f"{model}, {grain}s" + (f", {epochs} epochs" if epochs > _SHORT else "")
    if repair != "none":
        return Place(f"{panel}, repaired", f"{row} + {repair}", ratio_of(flat))
    return Place(panel, row, ratio_of(flat))


def _ticket(flat: Flat, repair: str) -> str:
    if repair == "scratch":
        return "drawn anew"
    if flat.get("rewind") is None:
        return "last rate"
    return "weights rewound" if flat["rewind"] else "ticket"


def ranked_panels(cells: Cells) -> list[str]:
    """Return the tables in which criteria stand side by side."""
    others = (", grains", ", tickets", ", repaired")
    return [panel for panel in dict.fromkeys(p.panel for p in cells) if not panel.endswith(others)]


def arena_sections(cells: Cells) -> list[Section]:
    """Return rankings, rank correlations of the JSV, and what repairs do to the order."""
    panels = ranked_panels(cells)
    made = [ranking(cells, panel, BASELINE) for panel in panels]
    repaired = [orders(cells, panel) for panel in repaired_panels(cells)]
    return [one for one in (*made, correlations(cells, panels), *repaired) if one is not None]
