"""A pruned network at a glance: a table for the terminal and for a notebook."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.text import Text

from isoprune.pruning.grains import read_grain
from isoprune.types.tables import Table, terminal
from isoprune.types.units import counted

if TYPE_CHECKING:
    from isoprune.pruning.pruned import Pruned


def table(pruned: Pruned) -> Group:
    """Return what the dense and the pruned network cost, and what went of each."""
    out = terminal(cost_table(pruned))
    out.title, out.title_justify = Text(_title(pruned)), "left"
    return Group(out, *map(Text, _notes(pruned)))


def cost_table(pruned: Pruned) -> Table:
    """Return parameters that no mask holds at zero, and multiply-adds of a sample where they are known."""
    costs = pruned.costs
    rows = [("parameters", costs.dense.parameters, costs.pruned.nonzero, costs.ratios["parameters"])]
    if pruned.graph.nodes:  # of a forward that was recorded
        rows.append(("multiply-adds", costs.dense.flops, costs.pruned.flops, costs.ratios["flops"]))
    written = [(name, f"{dense:,}", f"{now:,}", f"{gone:.1%}") for name, dense, now, gone in rows]
    return Table(("", "dense", "now", "removed"), tuple(written))


def units_in_words(pruned: Pruned, remedy: str = "isoprune.shrink(pruned) cuts them out") -> Iterator[str]:
    """Yield how many units went, of those that could, and what masks save.

    Args:
        remedy: For whole channels that masks hold: how to be rid of them.
    """
    plan, costs = pruned.plan, pruned.costs
    if not plan:
        return
    size, went = sum(n for _, n, _ in costs.units), sum(n for *_, n in costs.units)
    number = f"{went:,} of {size:,} {counted(plan.grain)}"
    if costs.pruned.parameters == costs.pruned.nonzero:
        yield f"{number} removed"
    else:
        whole = f": {remedy}" if read_grain(plan.grain).whole else ""
        yield f"{number} held at zero by masks, which save a dense kernel no time{whole}"


def _title(pruned: Pruned) -> str:
    steps = " → ".join(str(entry["step"]) for entry in pruned.history) or "nothing was pruned"
    return f"{type(pruned.dense).__name__}: {steps}"


def _notes(pruned: Pruned) -> Iterator[str]:
    yield from units_in_words(pruned)
    if pruned.proof.scale:
        yield f"proof: off by {pruned.proof.relative_error:.1g} of the output's scale"
    if (trained := _trained(pruned)) is not None:
        yield trained
    if spared := pruned.spared:
        names = ", ".join(s.name for s in spared[:3]) + (", ..." if len(spared) > 3 else "")
        yield f"{names} lost nothing, though asked for: pruned.spared says why"
    if unrun := pruned.graph.recording.unrun:
        names = ", ".join(unrun[:3]) + (", ..." if len(unrun) > 3 else "")
        yield f"{len(unrun)} parameters took no part in the forward ({names}): see also= and unrun="
    if pruned.graph.frozen and read_grain(pruned.plan.grain).whole:
        number = len(pruned.graph.frozen)
        tensors = "1 tensor keeps" if number == 1 else f"{number} tensors keep"
        yield f"{tensors} channels that cannot go: pruned.graph.frozen says why"


def _trained(pruned: Pruned) -> str | None:
    """Return what the last training made of the number that validation data are judged by; None without.

    Steps that followed are named: the number is not that of the network that they left.
    """
    at = max((i for i, entry in enumerate(pruned.history) if entry.get("rows")), default=None)
    if at is None:
        return None
    rows: Sequence[Mapping[str, Any]] = pruned.history[at]["rows"]
    later = " → ".join(entry["step"] for entry in pruned.history[at + 1 :] if entry["step"] != "shrink")
    since = f", and then {later}: isoprune.evaluate says what is left" if later else ""
    for key in rows[0]:
        if key.startswith("validation_"):
            ends = f"{rows[0][key]:.4g} before retraining, {rows[-1][key]:.4g} after"
            return f"{key.replace('_', ' ')}: {ends}{since}"
    return None


def text(pruned: Pruned, width: int = 100) -> str:
    """Return the table as plain text."""
    console = Console(width=width, color_system=None, record=True, file=io.StringIO())
    console.print(table(pruned))
    return console.export_text().rstrip()


def html(pruned: Pruned) -> str:
    """Return the table as HTML for a notebook."""
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table(pruned))
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
