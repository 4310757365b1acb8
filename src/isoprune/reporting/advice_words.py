"""Advice on a learning rate -> a table of its probes, and sentences, each backed by numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isoprune.comparison import text
from isoprune.types import IsopruneError
from isoprune.types.sentences import sentences_of
from isoprune.types.tables import Table

AdviceRecord = Mapping[str, Any]
_TEMPLATES = Path(__file__).parent / "template"
_NUMBERS = {
    "plain": text.plain,
    "counted": text.count,
    "points": text.points,
    "listed": text.listed,
    "share": lambda fraction: f"{100 * fraction:.1f} %",
}


def require_advice(record: AdviceRecord) -> None:
    """Raise IsopruneError unless ``record`` is what ``isoprune advise --out`` gives."""
    if record.get("kind") != "advice":
        raise IsopruneError(
            "This is not advice. Make it: isoprune advise MODEL --epochs 30 --out advice.html"
        )


def worded(record: AdviceRecord) -> dict[str, Any]:
    """Return the advice with its reasons and doubts: all that its page, file and table show."""
    return {**record, "reasons": reasons(record), "doubts": doubts(record)}


def headline(record: AdviceRecord) -> str:
    """Return the advice in one line that can be copied."""
    return f"lr = {text.plain(record['lr'])}, schedule = {record['schedule']}"


def verdict(record: AdviceRecord) -> str:
    """Return in one sentence what is advised."""
    if record["learns"]:
        schedule = record["schedule"]
        return f"With schedule = {schedule}: the largest of the probed rates that is as good as the best."
    if record["damage"]["verdict"] == "healthy":
        return "No rate learns anything within its probe: look at data and labels, or give more epochs."
    return "No rate learns anything within its probe: repair the network first."


def reasons(record: AdviceRecord) -> list[str]:
    """Return why: what the damage is, what the probes show, what smaller rates need, and the cost."""
    rates = [p["lr"] for p in record["probes"]]
    more = ",".join(text.plain(lr) for lr in (*rates, float(f"{3 * rates[-1]:.1g}")))
    return sentences_of(_TEMPLATES / "advice_reasons.txt.j2", {**record, "more": more}, _NUMBERS)


def doubts(record: AdviceRecord) -> list[str]:
    """Return how certain it is: the standard error, and the rates that cannot be told apart."""
    ended = [p for p in record["probes"] if p["metric_value"] is not None]
    best = max(p["metric_value"] for p in ended)
    # Without an error the rule of three: no exception among n leaves up to 3 / n at 95 %.
    samples = record["judge_samples"]
    error = standard_error(best, samples)
    # Both rates are judged on the same samples, so the difference is known at least so well.
    apart = 2 * math.sqrt(2) * error
    near = [p["lr"] for p in ended if best - p["metric_value"] <= apart]
    facts = {"samples": samples, "best": best, "error": error, "apart": apart, "near": near}
    return sentences_of(_TEMPLATES / "advice_doubts.txt.j2", facts, _NUMBERS)


def standard_error(accuracy: float, samples: int) -> float:
    """Return that of a frequency among so many samples."""
    return math.sqrt(accuracy * (1 - accuracy) / samples)


def probe_table(record: AdviceRecord) -> Table:
    """Return a row a probe: its rate, whether it is the advised one, and where it ended."""
    rows = []
    for probe in record["probes"]:
        mark = "advised" if probe["lr"] == record["lr"] else ""
        if probe["metric_value"] is None:
            rows.append((text.plain(probe["lr"]), "diverged", *[text.MISSING] * 3, str(probe["steps"])))
            continue
        error = standard_error(probe["metric_value"], record["judge_samples"])
        numbers = (f"{100 * probe['metric_value']:.1f}", f"{100 * error:.1f}", text.number(probe["loss"]))
        rows.append((text.plain(probe["lr"]), mark, *numbers, str(probe["steps"])))
    return Table(("rate", "", "accuracy %", "standard error %", "loss", "steps"), tuple(rows), words=2)
