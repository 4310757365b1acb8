"""Every method as a table of Markdown: what it is of, what it needs, what it costs, who wrote it."""

from __future__ import annotations

import re

from isoprune.experiment.catalogue import MethodEntry, catalogue
from isoprune.experiment.signatures import SHOWN

OTHERS = ("data", "model")  # kinds that are no methods
NUMBERS = ("schedule", "cadence")  # kinds that work out a number, and so take nothing
_OF_UNITS = ("criterion", "repair", "allocation", "check", "penalty")  # kinds that know grains
_COLUMNS = ("what", "grains", "needs", "cost", "memory", "paper", "year")
_HEAD = """# Every method

Made of the methods' own files by `isoprune methods --out docs/methods.md`; `isoprune methods NAME` prints a
method's formula and its options. "Data" are batches of inputs, "labels" their targets; a method that needs
gradients runs backward passes, "batchnorm" one that scores only what a BatchNorm follows; a "history" is
gathered while the network trains.
"""


def method_table() -> str:
    """Return a page of Markdown: a table a kind, without the columns that are empty."""
    tables = [_table(kind) for kind in SHOWN if kind not in OTHERS]
    return "\n".join([_HEAD, *tables])


def facts(entry: MethodEntry) -> dict[str, str]:
    """Return what is known of a method, in words; "" where nothing is."""
    method, words = entry.method, ("data", "labels", "gradients", "dense", "plan", "batchnorm", "history")
    every = {grain for other in catalogue("criterion").values() for grain in other.method.grains}
    grains = "all" if set(method.grains) == every else ", ".join(method.grains)
    of_units = method.kind in _OF_UNITS and (method.kind != "penalty" or "plan" in method.needs)
    changes = ["changes the weights that stay"] if method.updates_weights and not method.repair else []
    after = [f"then {method.repair}"] if method.repair else []
    return {
        "grains": grains if of_units else "",
        "needs": ", ".join(word for word in words if word in method.needs),
        "cost": "; ".join(filter(None, [entry.cost, *changes, *after])),
        "memory": entry.memory,
        "paper": method.source,
        "year": entry.year,
    }


def _table(kind: str) -> str:
    found = catalogue(kind).values()
    rows = [{"name": f"`{e.name}`", "what": e.doc.partition("\n")[0], **facts(e)} for e in found]
    columns = ["name", *(c for c in _COLUMNS if any(row[c] for row in rows))]
    lines = [columns, ["---"] * len(columns), *([_cell(row[c]) for c in columns] for row in rows)]
    title = SHOWN[kind].word.capitalize()
    return f"## {title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """Return text whose formulas GitHub sets, and whose bars end no cell."""

    def formula(found: re.Match[str]) -> str:
        return "$" + found[1].replace(r"\|", r"\Vert ").replace("|", r"\vert ") + "$"

    text = re.sub(r":math:`([^`]*)`", formula, text)
    return re.sub(r":\w+:`([^`]*)`", r"`\1`", text).replace("``", "`").removesuffix(".")
