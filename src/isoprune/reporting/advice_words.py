"""Advice on a learning rate -> a table of its probes, and sentences, each backed by numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from isoprune.comparison import text
from isoprune.reporting.pivots import Table
from isoprune.types import IsopruneError

Record = Mapping[str, Any]


def require_advice(record: Record) -> None:
    """Raise IsopruneError unless ``record`` is what ``isoprune advise --out`` gives."""
    if record.get("kind") != "advice":
        raise IsopruneError(
            "This is not advice. Make it: isoprune advise MODEL --epochs 30 --out advice.html"
        )


def worded(record: Record) -> dict[str, Any]:
    """Return the advice with its reasons and doubts: all that its page, file and table show."""
    return {**record, "reasons": reasons(record), "doubts": doubts(record)}


def headline(record: Record) -> str:
    """Return the advice in one line that can be copied."""
    return f"lr = {text.plain(record['lr'])}, schedule = {record['schedule']}"


def verdict(record: Record) -> str:
    """Return in one sentence what is advised."""
    if record["learns"]:
        schedule = record["schedule"]
        return f"With schedule = {schedule}: the largest of the probed rates that is as good as the best."
    if record["damage"]["verdict"] == "healthy":
        return "No rate learns anything within its probe: look at data and labels, or give more epochs."
    return "No rate learns anything within its probe: repair the network first."


def reasons(record: Record) -> list[str]:
    """Return why: what the damage is, what the probes show, what smaller rates need, and the cost."""
    said = [_learning(record), _damage(record), _choice(record), _larger(record), _smaller(record)]
    return [sentence for sentence in (*said, _cost(record)) if sentence]


def doubts(record: Record) -> list[str]:
    """Return how certain it is: the standard error, and the rates that cannot be told apart."""
    held, best = record["held"], _best(record)
    error = standard_error(best, held)
    said = f"Accuracies are of {text.count(held)} held-out training samples"
    if error == 0:
        # The rule of three: no exception among n leaves up to 3 / n at 95 %.
        said += f": {_percent(best)} of so many leaves up to {_percent(3 / held)} of error (19 times of 20)."
        return [said, _once()]
    said += f": the standard error of {_percent(best)} is {text.points(error)} points."
    # Both rates are judged on the same samples, so the difference is known at least so well.
    apart = 2 * math.sqrt(2) * error
    near = [p["lr"] for p in _ended(record) if best - p["accuracy"] <= apart]
    if len(near) > 1:
        said += (
            f" Of the rates {_rates(near)} it cannot tell the best: they are less than {text.points(apart)} "
            "points apart, two standard errors of a difference."
        )
    return [said, _once()]


def standard_error(accuracy: float, samples: int) -> float:
    """Return that of a frequency among so many samples."""
    return math.sqrt(accuracy * (1 - accuracy) / samples)


def probe_table(record: Record) -> Table:
    """Return a row a probe: its rate, whether it is the advised one, and where it ended."""
    rows = []
    for probe in record["probes"]:
        mark = "advised" if probe["lr"] == record["lr"] else ""
        if probe["accuracy"] is None:
            rows.append((text.plain(probe["lr"]), "diverged", *[text.MISSING] * 3, str(probe["steps"])))
            continue
        error = standard_error(probe["accuracy"], record["held"])
        numbers = (f"{100 * probe['accuracy']:.1f}", f"{100 * error:.1f}", text.number(probe["loss"]))
        rows.append((text.plain(probe["lr"]), mark, *numbers, str(probe["steps"])))
    return Table(("rate", "", "accuracy %", "standard error %", "loss", "steps"), tuple(rows), words=2)


def _once() -> str:
    return "Each rate was probed once, with one seed for the order of the samples."


def _damage(record: Record) -> str:
    damage = record["damage"]
    if damage["verdict"] is None:
        return f"The damage is not known, because this network cannot be measured: {damage['reason']}"
    inputs = f"{damage['samples']} training input{'s' if damage['samples'] > 1 else ''}"
    return f"{damage['headline'].removesuffix('.')} (measured on {inputs})."


def _learning(record: Record) -> str:
    if record["learns"]:
        return ""
    best = next(p["accuracy"] for p in record["probes"] if p["lr"] == record["lr"])
    said = (
        f"No rate learns anything within the probe: at the advised one it ends at {_percent(best)}, and the "
        f"most frequent class is {_percent(record['chance'])} of the samples. "
    )
    if record["damage"]["verdict"] == "healthy":
        return said + "Its Jacobian is healthy, so look at data and labels, or give more epochs."
    return said + (
        "Repair the network first: isoprune diagnose tries all repairs on copies, isoprune methods repair "
        "lists them. Then ask again."
    )


def _choice(record: Record) -> str:
    steps, total = _length(record), record["steps"]
    best = max(_ended(record), key=lambda p: p["accuracy"])
    own = next(p for p in record["probes"] if p["lr"] == record["lr"])
    said = (
        f"In probes of {text.count(steps)} steps ({_share(steps, total)} of {text.count(total)}), each with "
        f"the whole schedule, rate {text.plain(best['lr'])} ends highest, at {_percent(best['accuracy'])}"
    )
    tolerance = text.plain(round(100 * record["tolerance"], 6))
    points = f"{tolerance} point{'' if tolerance == '1' else 's'}"
    if own["lr"] == best["lr"]:
        alone = own["lr"] == record["probes"][-1]["lr"]
        return f"{said}." if alone else f"{said}, and no larger one comes within {points} of it."
    return (
        f"{said}; rate {text.plain(own['lr'])}, at {_percent(own['accuracy'])}, is the largest within "
        f"{points} of that, and is advised: what is too large shows in few steps."
    )


def _larger(record: Record) -> str:
    beyond = [p for p in record["probes"] if p["lr"] > record["lr"]]
    if not beyond:
        return (
            f"It is the largest rate that was probed: a larger one may be as good (--rates {_more(record)})."
        )
    said = [
        f"{text.plain(p['lr'])} diverges"
        if p["accuracy"] is None
        else f"{text.plain(p['lr'])} ends at {_percent(p['accuracy'])}"
        for p in beyond
    ]
    return f"Larger rates lose: {text.listed(said)}."


def _more(record: Record) -> str:
    rates = [p["lr"] for p in record["probes"]]
    return ",".join(text.plain(lr) for lr in (*rates, float(f"{3 * rates[-1]:.1g}")))


def _smaller(record: Record) -> str:
    below = [p for p in _ended(record) if p["lr"] < record["lr"]]
    behind = [p for p in below if p["accuracy"] < _best(record) - record["tolerance"]]
    if not below or not record["learns"]:
        return ""
    if not behind:
        return f"Smaller rates are as good within the probe: {_ends(below)}."
    return f"Smaller rates would need more epochs: in as many steps {_ends(behind)}."


def _cost(record: Record) -> str:
    count, steps = len(record["probes"]), _length(record)
    start = _percent(record["start"])
    grid = len(record["rates"])
    full = grid * record["steps"]
    return (
        f"The probes cost {text.count(count * steps)} steps, {_share(count * steps, full)} of the "
        f"{text.count(full)} of a grid of {_counted(grid)}. Before any step accuracy is {start}."
    )


def _counted(count: int) -> str:
    return f"{count} full trainings" if count > 1 else "one full training"


def _ends(probes: list[Mapping[str, Any]]) -> str:
    said = [f"{text.plain(p['lr'])} ends at {_percent(p['accuracy'])}" for p in probes]
    return text.listed(said)


def _rates(rates: list[float]) -> str:
    return text.listed([text.plain(lr) for lr in rates])


def _ended(record: Record) -> list[Mapping[str, Any]]:
    return [p for p in record["probes"] if p["accuracy"] is not None]


def _best(record: Record) -> float:
    return max(p["accuracy"] for p in _ended(record))


def _length(record: Record) -> int:
    return record["probes"][0]["steps"]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %"
