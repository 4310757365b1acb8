"""The networks of the forecast's study: for each family and data set so many, drawn and not a grid.

A draw is a grain, a ratio, a criterion, a repair and the seed of the dense network. It depends on the family,
the data set and its number alone: of a larger study the smaller one is the beginning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import structs

from isoprune.comparison.records import Flat
from isoprune.experiment.choice import Choice
from isoprune.experiment.config import Experiment
from isoprune.experiment.grid import Study
from isoprune.methods.criteria import CRITERIA
from isoprune.reproduction.arena import BATCHES, changed, criteria_for, has_batchnorm
from isoprune.reproduction.claims import Place, ratio_of
from isoprune.types.method import method_of
from isoprune.types.seeded import derived_seed

DRAWN = "drawn"  # in place of a criterion; its option ``networks`` says how many
SEEDS = 3  # dense networks of a family and data set
# No ratio of the one grain is one of the other: networks of a ratio are of one grain.
RATIOS = {"channel": (0.3, 0.5, 0.65, 0.8, 0.9), "weight": (0.85, 0.93, 0.97)}
_GRAINS = ("channel", "channel", "channel", "channel", "weight")
_SEEING: dict[str, Any] = {"batches": BATCHES}
# What restores the Jacobian, what restores the function, and nothing, which is the most usual.
_REPAIRS = {
    "channel": (
        *[Choice("none")] * 5, Choice("orthp"), Choice("polar"), Choice("spectrum"), Choice("lsuv", _SEEING),
        Choice("rescale", _SEEING), Choice("merging"), Choice("grail", _SEEING),
        Choice("reconstruct", _SEEING), Choice("auto", _SEEING),
    ),
    "weight": (
        *[Choice("none")] * 3, Choice("approximate_isometry"), Choice("lsuv", _SEEING),
        Choice("rescale", _SEEING), Choice("reconstruct", _SEEING),
    ),
}  # fmt: skip


def with_drawn_networks(study: Study, _: int) -> Study:
    """Return the study with the networks of a draw in the place of each experiment that says "drawn".

    First all first networks, then all second ones: stopped anywhere, no family has more than another.
    """
    draws = [list(_draws(one)) for one in study.experiments]
    most = max(map(len, draws))
    return dataclasses.replace(
        study, experiments=tuple(own[i] for i in range(most) for own in draws if i < len(own))
    )


def _draws(one: Experiment) -> Iterator[Experiment]:
    criterion = one.prune.criterion
    if criterion.name != DRAWN:
        yield one
        return
    seen: set[str] = set()
    number = 0
    while len(seen) < criterion.options["networks"]:
        made = _draw(one, number)
        number += 1
        if (config := repr(made.as_dict())) not in seen:
            seen.add(config)
            yield made


def _draw(one: Experiment, number: int) -> Experiment:
    def pick(what: str, of: Sequence[Any]) -> Any:
        # The lowest of a number for each: a criterion more changes the draws that it wins, and no other.
        names = [str(getattr(option, "name", option)) for option in of]
        stream = f"{what} of {one.model.name} on {one.data.name}"
        return of[min(range(len(of)), key=lambda i: _draw_of(number, stream, names[i], names[:i]))]

    grain = _GRAINS[number % len(_GRAINS)]
    before = sum(_GRAINS[i % len(_GRAINS)] == grain for i in range(number))
    prune = structs.replace(
        one.prune,
        grain=grain,
        ratio=RATIOS[grain][before % len(RATIOS[grain])],  # as many networks of each
        allocation="global" if grain == "weight" else "uniform",
    )
    prune = structs.replace(prune, criterion=pick("criterion", list(criteria_for(prune, one.model.name))))
    brings_its_own = method_of(CRITERIA[prune.criterion.name]).repair
    repair = Choice("none") if brings_its_own else pick("repair", _repairs(one.model.name, grain))
    return structs.replace(changed(one, prune=prune, repair=repair), seed=pick("seed", range(SEEDS)))


def _draw_of(number: int, stream: str, name: str, before: Sequence[str]) -> int:
    """Return the number of an option; one that is there several times has several."""
    return derived_seed(number, f"{stream}: {name} {before.count(name)}")


def _repairs(model: str, grain: str) -> list[Choice]:
    anew = [Choice("batchnorm", _SEEING)] * 2 if has_batchnorm(model) else []
    return [*_REPAIRS[grain], *anew]


def place_forecast(flat: Flat) -> Place:
    """Return a run's place: a panel for each family and budget, a row for each network and rate."""
    epochs = flat["retrain.epochs"]
    grain = str(flat.get("prune.grain", "channel"))
    how = f"{flat['prune.criterion.name']} of {grain}s, repair {flat.get('repair.name', 'none')}"
    row = f"{flat['data.name']}, {how}, rate {flat['retrain.lr']:g}"
    return Place(f"{flat['model.name']}, {epochs} epoch{'s' * (epochs != 1)}", row, ratio_of(flat))
