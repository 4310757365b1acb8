"""What `isoprune prune` tells of a pruned network: tables and sentences."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def tell(console: Any, args: argparse.Namespace, source: Any, result: Any, directory: Path) -> None:
    from isoprune.export.folder import WEIGHTS
    from isoprune.export.proof_text import frozen_in_words, odd_in_words, proof_in_words

    console.print(f"{type(source.model).__name__} ({args.source})", markup=False)
    console.print(_realised_table(source.model, result))
    if result.costs.latency:
        console.print(_latency_told(result), markup=False, soft_wrap=True)
    sentences = (
        *proof_in_words(result),
        *frozen_in_words(result.graph),
        *odd_in_words(source.model, result.model),
    )
    for line in sentences:
        console.print(line, markup=False, soft_wrap=True)
    if source.drawn:
        console.print(f"The weights are random (seed {args.seed}). Give trained ones: --weights FILE.")
    size = (directory / WEIGHTS).stat().st_size
    console.print(f"Saved: {directory} ({WEIGHTS} {megabytes(size)}, plan.json).", markup=False)
    console.print(
        f'Load it: isoprune.load("{directory}", build=lambda: {source.code})', markup=False, soft_wrap=True
    )


def _realised_table(dense: Any, result: Any) -> Any:
    from rich.table import Table

    costs, asked = result.costs, result.plan.request
    table = Table("removed", box=None)
    for heading in ("asked", "realised", "dense", "pruned"):
        table.add_column(heading, justify="right")
    ratio = asked.get("ratio")
    said = f"{ratio:.1%}" if isinstance(ratio, int | float) else "by name" if ratio else ""
    went = {"flops": asked.get("flops"), "weights": asked.get("parameters")}
    wanted = {name: f"{1 - left:.1%}" if left is not None else "" for name, left in went.items()}
    channels = [sum(size for _, size, _ in costs.units), sum(gone for *_, gone in costs.units)]
    counts = [f"{channels[0]:,}", f"{channels[0] - channels[1]:,}"]
    table.add_row("filters", "" if any(wanted.values()) else said, f"{costs.ratios['filters']:.1%}", *counts)
    sizes = [f"{n:,}" for n in (costs.dense.parameters, costs.pruned.parameters)]
    table.add_row("weights", wanted["weights"], f"{costs.ratios['parameters']:.1%}", *sizes)
    work = [f"{n:,}" for n in (costs.dense.flops, costs.pruned.flops)]
    table.add_row("FLOPs", wanted["flops"], f"{costs.ratios['flops']:.1%}", *work)
    sizes = [sum(t.nbytes for t in [*m.parameters(), *m.buffers()]) for m in (dense, result.model)]
    table.add_row("bytes", "", f"{1 - sizes[1] / sizes[0]:.1%}", *map(megabytes, sizes))
    return table


def _latency_told(result: Any) -> str:
    told = result.costs.latency
    return (
        f"Latency: asked {told['request']:.0%} of the dense network's time, measured {told['share']:.1%} on "
        f"{told['backend']} ({told['threads']} thread{'s' * (told['threads'] > 1)}) at ratio "
        f"{result.plan.request['ratio']:.3f}."
    )


def latency_table(rows: Iterable[Mapping[str, Any]]) -> Any:
    from rich.table import Table

    table = Table("network", "backend", box=None)
    for heading in ("median ms", "quartiles", "gain", "FLOPs gain"):
        table.add_column(heading, justify="right")
    for row in rows:
        if row["problem"]:
            table.add_row(row["model"], row["backend"], "-", "", "", f"{row['flops_gain']:.2f}")
            continue
        numbers = (f"{row['median_ms']:.2f}", f"{row['lower_ms']:.2f}-{row['upper_ms']:.2f}")
        # Against a dense network that does not run there is no gain: NaN, or null in a record.
        gain = f"{row['gain']:.2f}" if (row["gain"] or math.nan) > 0 else "-"
        table.add_row(row["model"], row["backend"], *numbers, gain, f"{row['flops_gain']:.2f}")
    return table


def listed(backends: str | None) -> list[str]:
    """Return the backends that --latency-report names."""
    return [b.strip() for b in (backends or "").split(",") if b.strip()]


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
