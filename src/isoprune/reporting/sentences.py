"""The results in sentences: every word follows from a number of the records."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from isoprune.comparison import text
from isoprune.comparison.statistics import Summary, paired_difference
from isoprune.reporting.study import Cell, by_seed, grouped, make_cells, over_seeds, split_by_budget, unique
from isoprune.reporting.views import View, views_of
from isoprune.types.record import Record

# One seed gives no interval; then only a gap of half a point is called one.
ONE_SEED = 0.005
_AFTER = "retrained.test_accuracy"


@dataclass(frozen=True)
class Finding:
    """One result: a lead and, per network, the clause that completes it."""

    lead: str
    clauses: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.lead}, {'; '.join(self.clauses)}."


def explain(records: Sequence[Record]) -> list[str]:
    """Return the sentences that explain the records: JSV, the learning rate's effect, what repair did to it.

    Differences are paired by seed. With two seeds or more, one counts as shown only if its 95 % Student-t
    interval leaves zero out; with one seed the sentence says so and calls half a point a gap.
    Of several ratios, the largest that was retrained is told. Criteria and further settings are told one by
    one, each by its name: nothing is averaged over them.

    Raises:
        IsopruneError: If no record is finished, or one is not a record.
    """
    return [str(finding) for finding in findings(make_cells(records))]


def findings(cells: Sequence[Cell]) -> list[Finding]:
    """Return what these cells show, in the order of the story; nothing is said of what was not measured.

    Runs with a budget of steps are left out where there are others: `frontier.findings` is about them.
    """
    cells = split_by_budget(cells)[0] or cells
    views = [view for network, own in grouped(cells, "network").items() for view in views_of(network, own)]
    if len(unique(cell.ratio for cell in cells)) > 1:
        results = [("As the ratio rises", _once(views, partial(_jsv_against_ratio, cells)))]
    else:
        results = [(_removal(views), _once(views, _jsv))]
    results += [
        ("Retrained", [_only(view) for view in views]),
        ("Retrained without repair", [_lr_effect(view) for view in views]),
        ("After repair", [_after_repair(view, named=len(views) > 1) for view in views]),
        ("Trained from scratch", [_control(view) for view in views]),
    ]
    return [Finding(lead, tuple(filter(None, clauses))) for lead, clauses in results if any(clauses)]


def _once(views: Sequence[View], clause: Callable[[View, str], str]) -> list[str]:
    """Return a clause a view; once, where what differs between views came after pruning."""
    brief = {(view.pruned, clause(view, view.pruned)) for view in views}
    if len(brief) == len({view.pruned for view in views}):
        return unique(clause(view, view.pruned) for view in views)
    return [clause(view, view.way) for view in views]


def _only(view: View) -> str:
    """Return where the one retraining that there is of a network ended; more are compared with each other."""
    retrained = [cell for cells in view.repairs.values() for cell in cells if cell.lr is not None]
    if len(retrained) != 1:
        return ""
    (cell,) = retrained
    ends = [_mean([cell], f"{stage}.test_accuracy") for stage in ("pruned", "retrained", "dense")]
    before, after, dense = (f"{100 * end:.2f} %" for end in ends)
    at = f"at LR {text.learning_rate(cell.lr or 0.0)}" + (f" ({cell.extra})" if cell.extra else "")
    sentence = f"{view.pruned} goes from {before} to {after} {at}; the dense network has {dense}"
    return "" if any(math.isnan(end) for end in ends) else sentence


def _removal(views: Sequence[View]) -> str:
    ways = unique((view.ratio, view.criterion) for view in views)
    if len(ways) > 1:
        return "After pruning"
    ratio, criterion = ways[0]
    by = f" by {criterion}" if criterion else ""
    return f"When {text.plain(round(100 * ratio, 6))} % of the filters are removed{by}"


def _mean(cells: Sequence[Cell], *path: str) -> float:
    return over_seeds(cells, *path).mean


def _jsv_of(cells: Sequence[Cell], stage: str) -> float:
    return _mean(cells, f"{stage}.jsv.mean")


def _times(before: float, after: float) -> str:
    """Return how many times larger or smaller, "" where the change is less than twofold or unknown."""
    if not (before > 0 and after > 0):
        return ""
    factor = max(before, after) / min(before, after)
    if factor < 2:
        return ""
    rounded = float(f"{factor:.2g}")
    times = text.count(rounded) if rounded >= 10 else text.plain(rounded)
    return f" ({times} times {'smaller' if after < before else 'larger'})"


def _jsv(view: View, name: str) -> str:
    every = [cell for cells in view.repairs.values() for cell in cells]
    dense, pruned = _jsv_of(every, "dense"), _jsv_of(every, "pruned")
    if math.isnan(dense) or math.isnan(pruned):
        return ""
    clause = f"the mean JSV of {name} goes from {text.number(dense)} to {text.number(pruned)}"
    after = [
        f"{repair} takes it to {text.number(_jsv_of(cells, 'repaired'))}"
        for repair, cells in view.mended.items()
        if math.isfinite(_jsv_of(cells, "repaired"))
    ]
    return ", and ".join(filter(None, [clause + _times(dense, pruned), text.listed(after)]))


def _jsv_against_ratio(cells: Sequence[Cell], view: View, name: str) -> str:
    mine = [c for c in cells if (c.network, c.criterion) == (view.network, view.criterion)]
    # What was measured alone has no further settings.
    mine = [c for c in mine if c.extra == view.extra or c.lr is None]
    pruned = [cell for cell in mine if cell.ratio > 0]
    if not pruned:
        return ""
    at = grouped(pruned, "ratio")
    ratios = sorted(at)
    dense, last = _jsv_of(mine, "dense"), _jsv_of(at[ratios[-1]], "pruned")
    clause = (
        f"the mean JSV of {name} goes from {text.number(dense)} (dense) to {text.number(last)} "
        f"at ratio {text.plain(ratios[-1])}{_times(dense, last)}"
    )
    for repair in unique(c.repair for c in pruned if not c.untouched and not c.scratch):
        after = [_jsv_of([c for c in at[r] if c.repair == repair], "repaired") for r in ratios]
        known = [found for found in after if math.isfinite(found)]
        if known:
            ends = unique([text.number(min(known)), text.number(max(known))])
            at_all = " at every ratio" if len(known) > 1 else ""
            clause += f", and after {repair} is {' to '.join(ends)}{at_all}"
    return clause


def gap(cells: Sequence[Cell]) -> tuple[Summary, float, float] | None:
    """Return the accuracy at the largest minus that at the smallest learning rate, paired, and both rates."""
    rates = sorted(unique(cell.lr for cell in cells if cell.lr is not None))
    if len(rates) < 2:
        return None
    ends = [by_seed([cell for cell in cells if cell.lr == lr], _AFTER) for lr in (rates[-1], rates[0])]
    difference = paired_difference(*ends)
    return (difference, rates[-1], rates[0]) if difference.n else None


def beyond_noise(difference: Summary) -> bool:
    """Whether a difference is more than noise, as far as its seeds can tell."""
    return difference.excludes_zero if difference.n > 1 else abs(difference.mean) >= ONE_SEED


def _evidence(difference: Summary) -> str:
    if difference.n < 2:
        return "one seed, no interval"
    if math.isnan(difference.half):
        return f"n = {difference.n}, the same in each, no interval"
    low, high = difference.interval
    return f"95 % interval {text.points(low)} to {text.points(high)}, n = {difference.n}"


def _above(difference: float) -> str:
    return f"{text.points(abs(difference))} points {'above' if difference > 0 else 'below'}"


def _lr_effect(view: View) -> str:
    found = gap(view.bare)
    if found is None:
        return ""
    difference, large, small = found
    rates = text.learning_rate(small), text.learning_rate(large)
    if not beyond_noise(difference):
        return (
            f"{view.name} ends {text.points(abs(difference.mean))} points apart at LR {rates[0]} and "
            f"{rates[1]}: open ({_evidence(difference)})"
        )
    end = f"{text.points(abs(difference.mean))} points {'lower' if difference.mean > 0 else 'higher'}"
    return f"{view.name} ends {end} at LR {rates[0]} than at {rates[1]} ({_evidence(difference)})"


def _after_repair(view: View, *, named: bool) -> str:
    clauses = []
    for name, cells in view.mended.items():
        parts = [_gap_after(view, name, cells), _gain(view, name, cells)]
        if not parts[0] and parts[1] and (named or view.name != view.network):
            parts[1] = f"{view.name}: {parts[1]}"
        clauses.append(", and ".join(filter(None, parts)))
    return "; ".join(filter(None, clauses))


def _gap_after(view: View, name: str, cells: list[Cell]) -> str:
    after, before = gap(cells), gap(view.bare)
    if after is None:
        return ""
    left = text.points(after[0].mean)
    size = f"the gap of {view.name} with {name} is {left} points ({_evidence(after[0])})"
    if before is None or before[1:] != after[1:] or not beyond_noise(before[0]) or before[0].mean < 0:
        return size
    return f"{size}: {_verdict(view.bare, cells, before[0], after[0])}"


def _verdict(bare: list[Cell], cells: list[Cell], before: Summary, after: Summary) -> str:
    """Return what became of the gap: level if its whole interval is within a fifth of what it was."""
    reduction = paired_difference(_gaps_by_seed(bare), _gaps_by_seed(cells))
    if not beyond_noise(reduction):
        return "open: these seeds show no change"
    if reduction.mean < 0:
        return "the effect grows"
    margin = 0.2 * before.mean
    if after.n > 1 and max(-after.interval[0], after.interval[1]) <= margin:
        return f"level within {text.points(margin)} points, a fifth of what it was"
    if not beyond_noise(after):
        return "the effect is smaller; whether any of it is left is open"
    if after.mean > 0:
        return f"the effect is smaller, {text.points(after.mean)} of {text.points(before.mean)} points remain"
    return "the effect is turned around, the smaller LR ends higher"


def _gaps_by_seed(cells: Sequence[Cell]) -> dict[int, float]:
    rates = sorted(unique(cell.lr for cell in cells if cell.lr is not None))
    large, small = (by_seed([c for c in cells if c.lr == lr], _AFTER) for lr in (rates[-1], rates[0]))
    return {seed: large[seed] - small[seed] for seed in large.keys() & small.keys()}


def best(cells: Sequence[Cell]) -> Cell | None:
    """Return the cell with the highest mean *validation* accuracy after retraining: test never chooses."""
    scored = [(_mean([cell], "retrained.validation_accuracy"), cell) for cell in cells]
    known = [(score, cell) for score, cell in scored if math.isfinite(score)]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def _gain(view: View, name: str, cells: Sequence[Cell]) -> str:
    ours, theirs = best(cells), best(view.bare)
    if ours is None:
        return ""
    accuracy = text.percent(over_seeds([ours], _AFTER), spread=False)
    reached = f"at its best LR {name} ends at {accuracy} %"
    difference = paired_difference(*(by_seed([cell], _AFTER) for cell in (ours, theirs))) if theirs else None
    if difference is None or difference.n == 0:
        return reached
    if not beyond_noise(difference):
        return f"{reached}, open against no repair ({_evidence(difference)})"
    return f"{reached}, {_above(difference.mean)} no repair ({_evidence(difference)})"


def _control(view: View) -> str:
    control = best(view.control)
    if control is None:
        return ""
    accuracy = text.percent(over_seeds([control], _AFTER), spread=False)
    rivals = {"no repair": best(view.bare)} | {name: best(cells) for name, cells in view.mended.items()}
    against = []
    for name, rival in rivals.items():
        if rival is None:
            continue
        difference = paired_difference(by_seed([control], _AFTER), by_seed([rival], _AFTER))
        if difference.n:
            where = _above(difference.mean) if beyond_noise(difference) else "open against"
            against.append(f"{where} {name}")
    reached = f"the pruned shape of {view.name} ends at {accuracy} %"
    return ", ".join(filter(None, [reached, text.listed(against)]))
