"""A pruned network at a glance: a table for the terminal and for a notebook."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from isoprune.pruning.pruned import Pruned


def table(pruned: Pruned) -> Group:
    """Return what the dense and the pruned network cost, and what went of each."""
    costs, by_masks = pruned.costs, pruned.costs.pruned.parameters != pruned.costs.pruned.nonzero
    out = Table(*("", "dense", "now", "removed"), box=None, title=_title(pruned), title_justify="left")
    for column in out.columns[1:]:
        column.justify = "right"
    rows = {
        "parameters": (costs.dense.parameters, costs.pruned.nonzero, costs.ratios["parameters"]),
        "multiply-adds": (costs.dense.flops, costs.pruned.flops, costs.ratios["flops"]),
    }
    for name, (dense, now, gone) in rows.items():
        out.add_row(name, f"{dense:,}", f"{now:,}", f"{gone:.1%}")
    return Group(out, *map(Text, _notes(pruned, by_masks)))


def _title(pruned: Pruned) -> str:
    steps = " → ".join(str(entry["step"]) for entry in pruned.history) or "nothing was pruned"
    return f"{type(pruned.dense).__name__}: {steps}"


def _notes(pruned: Pruned, by_masks: bool) -> Iterator[str]:
    plan = pruned.plan
    if plan:
        size, went = sum(n for _, n, _ in pruned.costs.units), sum(n for *_, n in pruned.costs.units)
        how = "held at zero by masks, which save a dense kernel no time" if by_masks else "removed"
        yield f"{went:,} of {size:,} {plan.grain}s {how}"
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
    if pruned.graph.frozen:
        number = len(pruned.graph.frozen)
        tensors = "1 tensor keeps" if number == 1 else f"{number} tensors keep"
        yield f"{tensors} channels that cannot go: pruned.graph.frozen says why"


def _trained(pruned: Pruned) -> str | None:
    """Return what the last training made of the number that validation data are judged by; None without."""
    rows: Sequence[Mapping[str, Any]]
    rows = next((entry["rows"] for entry in reversed(pruned.history) if entry.get("rows")), [{}])
    for key in rows[0]:
        if key.startswith("validation_"):
            ends = f"{rows[0][key]:.4g} before retraining, {rows[-1][key]:.4g} after"
            return f"{key.replace('_', ' ')}: {ends}"
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
