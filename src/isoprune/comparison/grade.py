"""Two runs -> the setup that they share, and the first thing that keeps them from the next one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from isoprune.comparison.records import UNSET, Number, under
from isoprune.comparison.runs import AnyRecord, Budget, Run, read
from isoprune.comparison.setups import Setup, place, rung

# Sizes are compared as they are published, with three digits; one channel of a narrow layer is about as much.
SAME_SIZE = 0.01


@dataclass(frozen=True)
class Grade:
    """What two runs share.

    Attributes:
        setup: The highest; None if not even S1.
        shared: All of them; a pair of the ladder may share all epochs (SX-A) and multiply-adds (SX-B) too.
        key: What keeps them from the next one, "" if there is no next one.
        values: What it is in the first and in the second.
    """

    setup: Setup | None
    shared: frozenset[Setup]
    key: str
    values: tuple[Any, Any]

    def meets(self, required: Setup) -> bool:
        """Whether the runs share ``required``, or more.

        Of scratch against pruned, to which no more of the ladder than S1 applies, an equal budget is more.
        """
        if required >= Setup.SX_A:
            return any(setup >= required for setup in self.shared)
        return self.setup is not None and self.setup >= required


def setup_of(first: AnyRecord, second: AnyRecord, *, compared: Sequence[str] = ()) -> Grade:
    """Return the highest setup that two records or resolved configs share, and what bars the next one.

    Symmetric: the other way round, only ``values`` change places. Of records the sizes that came out count,
    of configs those that were asked for. Compression or speed-up is the same if parameters or multiply-adds
    of the pruned networks are within 1 %.

    Args:
        first: A record, or a config as `Experiment.as_dict` gives it.
        second: Likewise.
        compared: Keys, or what they begin with, that are what is compared: they may differ.

    Raises:
        IsopruneError: If one is neither a record nor a config.
    """
    a, b = read(first), read(second)
    return grade(a, b, sorted(a.flat.keys() | b.flat.keys()), compared=compared)


def grade(a: Run, b: Run, keys: Sequence[str], *, compared: Sequence[str] = ()) -> Grade:
    """Return what two runs share, of which only ``keys`` may differ; see `setup_of`."""
    apart = min(_differences(a, b, keys, compared), key=lambda d: (d[0], place(d[1])), default=None)
    if apart is not None and apart[0] is Setup.S1:
        return Grade(None, frozenset(), *apart[1:])
    budgets, bar = budgets_of(a, b, compared)
    if a.scratch != b.scratch:
        # No step of the ladder above S1 is for them; what they can share is the budget.
        shared = budgets | {Setup.S1}
        return Grade(max(shared), shared, *(bar or _NOTHING))
    top = Setup.S4_2 if apart is None else Setup(apart[0] - 1)
    ladder = frozenset(setup for setup in Setup if setup <= top)
    return Grade(top, ladder | budgets, *(_NOTHING if apart is None else apart[1:]))


_NOTHING = ("", (None, None))


def _differences(
    a: Run, b: Run, keys: Sequence[str], compared: Sequence[str]
) -> Iterator[tuple[Setup, str, tuple[Any, Any]]]:
    sizes = _sizes(a, b)
    if any(under("prune.ratio", prefix) for prefix in compared):
        sizes = None  # Sizes are what is compared.
    if sizes is not None and not any(_close(*pair) for pair in sizes.values()):
        yield Setup.S1, "pruned.flops", sizes["flops"]
    if a.scratch != b.scratch:
        yield Setup.S2, "repair", (a.flat.get("repair.name"), b.flat.get("repair.name"))
    elif a.trained[0] == "dense" and (dense := _dense(a, b)) is not None:
        yield Setup.S2, "dense.validation_accuracy", dense
    repair_trains = a.repair_trains or b.repair_trains
    if repair_trains and not _same_length(a, b):
        lengths = [UNKNOWN if run.after_pruning is None else run.after_pruning for run in (a, b)]
        yield Setup.S3_1, "samples of repair and retraining", (lengths[0], lengths[1])
    for key in keys:
        if repair_trains and key in _LENGTH:  # counted in samples, above
            continue
        setup = rung(key)
        if setup is None or any(under(key, prefix) for prefix in compared):
            continue
        if setup is Setup.S1 and under(key, "prune") and sizes is not None:
            continue
        pair = _value(a, key), _value(b, key)
        if pair[0] != pair[1]:
            yield setup, key, pair


_LENGTH = ("retrain.epochs", "retrain.steps")


def _same_length(a: Run, b: Run) -> bool:
    """Whether all steps after pruning took as many samples, to one step; those of a repair are counted too.

    Where that is not known, as of configs alone, whether they are the same steps.
    """
    x, y = a.after_pruning, b.after_pruning
    if x is not None and y is not None:
        return abs(x - y) <= max(a.budget.step[0], b.budget.step[0])
    steps = [key for key in {*a.flat, *b.flat} if under(key, "repair") or key in (*_LENGTH, "retrain.batch")]
    return all(a.flat.get(key) == b.flat.get(key) for key in steps)


def _value(run: Run, key: str) -> Any:
    value = run.flat.get(key)
    if value is None:
        return UNSET
    advised = run.number("retrained.advice.lr") if key == "retrain.lr" and value == "auto" else None
    return value if advised is None else advised


def _sizes(a: Run, b: Run) -> dict[str, tuple[Number, Number]] | None:
    """Return both pruned networks' sizes; None if one is not known."""
    sizes = {}
    for kind in ("flops", "nonzero"):  # what a mask holds at zero is no parameter
        x, y = a.number(f"pruned.{kind}"), b.number(f"pruned.{kind}")
        if x is None or y is None:
            return None
        sizes[kind] = (x, y)
    return sizes


def _close(a: Number, b: Number) -> bool:
    return abs(a - b) <= SAME_SIZE * max(a, b)


def _dense(a: Run, b: Run) -> tuple[Number, Number] | None:
    """Return both bases' accuracies if they show that equal recipes made two networks, on other machines."""
    if not a.flat.get("dense.epochs"):
        return None
    x, y = (run.number("dense.validation_accuracy") for run in (a, b))
    return None if x is None or y is None or x == y else (x, y)


def budgets_of(
    a: Run, b: Run, compared: Sequence[str]
) -> tuple[frozenset[Setup], tuple[str, tuple[Any, Any]] | None]:
    """Return which of SX-A and SX-B two runs of S1 share, and what keeps them from SX-B."""
    other = _other_steps(a, b, compared) or _other_steps(b, a, compared, turned=True)
    if other is not None:
        return frozenset(), other
    x, y = a.budget, b.budget
    shared = {
        setup for setup, same in ((Setup.SX_A, _same_epochs(x, y)), (Setup.SX_B, _same_cost(x, y))) if same
    }
    if Setup.SX_B in shared:
        return frozenset(shared), None
    if Setup.SX_A in shared:
        costs = [UNKNOWN if run.multiply_adds is None else run.multiply_adds for run in (x, y)]
        return frozenset(shared), ("multiply-adds of all training", (costs[0], costs[1]))
    return frozenset(shared), ("epochs of all training", (_epochs(x), _epochs(y)))


UNKNOWN = "not known"


def _epochs(known: Budget) -> Any:
    if known.epochs is None:
        return UNKNOWN if known.samples is None else f"{known.samples} samples"
    return int(known.epochs) if known.epochs.denominator == 1 else float(known.epochs)


def _same_epochs(x: Budget, y: Budget) -> bool:
    if x.samples is not None and y.samples is not None:
        return abs(x.samples - y.samples) <= max(x.step[0], y.step[0])
    return x.epochs is not None and x.epochs == y.epochs


def _same_cost(x: Budget, y: Budget) -> bool:
    if x.multiply_adds is None or y.multiply_adds is None:
        return False
    return abs(x.multiply_adds - y.multiply_adds) <= max(x.step[1], y.step[1])


def _other_steps(
    scratch: Run, pruned: Run, compared: Sequence[str], *, turned: bool = False
) -> tuple[str, tuple[Any, Any]] | None:
    """Return the first key by which training from scratch steps unlike both trainings of the pruned network.

    Rates and schedules are left free: they must fit the budget. Batch, weight decay and the like must not
    be better than what the pruned network had.
    """
    if not scratch.scratch or pruned.scratch:
        return None
    for key in sorted({*scratch.steering, *pruned.steering}):
        if any(under(key, prefix) for prefix in compared):
            continue
        own = _value(scratch, key)
        theirs = {_value(pruned, key), _value(pruned, f"dense.{key.removeprefix('retrain.')}")}
        if own not in theirs:
            pair = own, _value(pruned, key)
            return key, (pair[::-1] if turned else pair)
    return None
