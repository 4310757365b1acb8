"""The reproductions: of each a folder with its claims, the published numbers, and a study a scale."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import as_file, files
from typing import Any

from isoprune.experiment.grid import Study, read_study
from isoprune.reproduction import judges
from isoprune.reproduction.arena import arena_sections, ranked_panels, with_every_criterion
from isoprune.reproduction.claims import VALUES, Claim, Published, Reproduction
from isoprune.reproduction.forecasts.jsv_claim import forecast_sections, jsv_foretells, rows_of
from isoprune.reproduction.forecasts.networks import with_drawn_networks
from isoprune.reproduction.full_budget import full_budget_sections, of_best_rates, with_every_start
from isoprune.reproduction.judges import exact, thousandth
from isoprune.reproduction.places import PLACES
from isoprune.reproduction.rank_correlation import jsv_orders
from isoprune.reproduction.repairs_arena import repairs_sections, with_every_repair
from isoprune.reproduction.value_of_pruning import with_equal_flops
from isoprune.types.errors import IsopruneError, did_you_mean

SCALES = ("smoke", "laptop", "paper")
_JUDGES = {
    "thousandth": thousandth,
    "exact": exact,
    "jsv_orders": jsv_orders(ranked_panels),
    "jsv_foretells": jsv_foretells,
}
_ADDED = {
    "value-of-pruning": with_equal_flops,
    "arena": with_every_criterion,
    "repairs-arena": with_every_repair,
    "forecast": with_drawn_networks,
    "full-budget": with_every_start,
}
_SECTIONS = {
    "arena": arena_sections,
    "repairs-arena": repairs_sections,
    "forecast": forecast_sections,
    "full-budget": full_budget_sections,
}
_ROWS = {"forecast": rows_of}
_SELECT = {"full-budget": of_best_rates}
_FOLDER = files("isoprune.reproduction") / "studies"


def _read(name: str) -> Reproduction:
    table = tomllib.loads((_FOLDER / name / "claims.toml").read_text(encoding="utf-8"))
    published = [(one.pop("panels"), _published(**one)) for one in table.pop("published")]
    return Reproduction(
        name,
        claims=tuple(_claim(**one) for one in table.pop("claims")),
        place=PLACES[name],
        published={panel: numbers for panels, numbers in published for panel in panels},
        value=VALUES[table.pop("value", "retrained.test_accuracy")],
        notes=tuple(table.pop("notes", ())),
        scales=tuple(table.pop("scales", SCALES)),
        complete=_ADDED.get(name, lambda study, _: study),
        sections=_SECTIONS.get(name, lambda _: ()),
        rows=_ROWS.get(name),
        select=_SELECT.get(name, lambda cells: cells),
        **table,
    )


def _claim(text: str, source: str, *, judge: str = "", value: str | None = None, **how: Any) -> Claim:
    if judge:
        return Claim(text, source, _JUDGES[judge])
    kind = "within" if "within" in how else "above"
    pairs = [tuple(side if isinstance(side, str) else tuple(side) for side in pair) for pair in how.pop(kind)]
    of = None if value is None else VALUES[value]
    return Claim(text, source, getattr(judges, kind)(*pairs, value=of, **how))


def _published(
    title: str, source: str, columns: list[str], rows: Mapping[str, list[Any]], comparable: bool = True
) -> Published:
    # TOML has no null: a cell that was not printed is nan.
    cells = {
        row: tuple(
            tuple(map(float, cell)) if isinstance(cell, list) else None if math.isnan(cell) else float(cell)
            for cell in own
        )
        for row, own in rows.items()
    }
    return Published(title, source, tuple(columns), cells, comparable)


REPRODUCTIONS = {name: _read(name) for name in PLACES}


def find(name: str) -> Reproduction:
    """Return the reproduction called ``name``.

    Raises:
        IsopruneError: If there is none, with the nearest name that there is.
    """
    if name not in REPRODUCTIONS:
        raise IsopruneError(f"Nothing to reproduce is called {name!r}.{did_you_mean(name, REPRODUCTIONS)}")
    return REPRODUCTIONS[name]


def study_of(reproduction: Reproduction, scale: str, settings: Iterable[str] = ()) -> Study:
    """Return the study of a reproduction at a scale, called NAME-SCALE.

    Args:
        settings: Changes of its keys, as ``--set`` takes them.

    Raises:
        IsopruneError: If it has no such scale, or a setting is wrong.
    """
    if scale not in reproduction.scales:
        known = " and ".join(reproduction.scales)
        why = (
            f"{reproduction.name} has no size for a laptop"
            if scale == "laptop"
            else f"Unknown scale {scale!r}"
        )
        raise IsopruneError(f"{why}. Write --scale with one of: {known}.")
    with as_file(_FOLDER / reproduction.name / f"{scale}.toml") as file:
        study = read_study(file, settings)
    return reproduction.complete(
        dataclasses.replace(study, name=f"{reproduction.name}-{scale}"), reproduction.image_classes
    )
