"""The smallest ratio at which a network reaches a share of the dense one's time, by few measurements."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from isoprune.export.backends import Call, check_backends, prepared
from isoprune.export.latency import quartiles, set_threads
from isoprune.export.onnx import installed
from isoprune.pruning import NothingRemoved, Pruned
from isoprune.types import IsopruneError

MEASUREMENTS = 7
HIGHEST = 0.95  # ratio; beyond it, nothing is left that would be worth the time
CLOSE = 0.03  # of the target: nearer than this, timing is not worth another network


def prune_to_latency(
    prune_at: Callable[[float], Pruned],
    time_share: Callable[[nn.Module], float],
    target: float,
    *,
    measurements: int = MEASUREMENTS,
) -> tuple[Pruned, float, float]:
    """Return the network of the smallest ratio found that meets the target, its ratio, and its share of time.

    Time falls as the ratio rises, about as the square of what stays: that law, fitted to what was measured
    on either side of the target, says what to try next, and every second try halves what is left of the
    range. The search ends when a network takes the target or up to 3 % less, or after ``measurements``.

    Args:
        prune_at: ratio -> what `prune` returns.
        time_share: network -> its time over the dense one's, measured; see `share_of_time`.
        target: The share of the dense network's time that may stay, in (0, 1).
        measurements: How many networks are made and timed, at most.

    Raises:
        IsopruneError: If the target is not in (0, 1), or a ratio of 0.95 is still too slow.
    """
    check_target(target)
    if measurements < 1:
        raise IsopruneError(f"{measurements} measurements find nothing. Give at least 1.")
    low, high = (0.0, 1.0), (HIGHEST, 0.0)  # (ratio, share of time): too slow, fast enough
    best: tuple[Pruned, float, float] | None = None
    for number in range(1, measurements + 1):
        last = number == measurements and best is None
        ratio = HIGHEST if last else _next(low, high, target, halve=number % 2 == 0)
        try:
            result = prune_at(ratio)
            share = time_share(result.model)
        except NothingRemoved:  # so small a ratio, rounded up to all channels, is the dense network
            if ratio >= HIGHEST:
                raise
            result, share = None, 1.0
        if result is not None and share <= target:
            best, high = (result, ratio, share), (ratio, share)
        elif ratio >= HIGHEST:
            raise IsopruneError(
                f"No ratio brings the time to {target:.2f} of the dense network's: at ratio {ratio} it still "
                f"takes {share:.2f}. Ask for a larger share, or see which channels are frozen."
            )
        else:
            low = (ratio, share)
        if share <= target < share / (1 - CLOSE) or high[0] - low[0] < 0.005:
            break
    if best is None:  # the range closed from below
        raise IsopruneError(
            f"No ratio up to {high[0]:.2f} met the target {target:.2f}. Ask for a larger share."
        )
    return best


def _next(low: tuple[float, float], high: tuple[float, float], target: float, *, halve: bool) -> float:
    """Return the ratio to try between one that is too slow and one that is fast enough."""
    (a, slow), (b, fast) = low, high
    if halve:
        return (a + b) / 2
    squares = (1 - a) ** 2, (1 - b) ** 2
    part = (slow - (1 - CLOSE / 2) * target) / max(slow - fast, 1e-9)
    wanted = squares[0] + min(max(part, 0.0), 1.0) * (squares[1] - squares[0])
    margin = 0.02 * (b - a)  # what was measured is not tried again
    return min(max(1 - wanted**0.5, a + margin), b - margin)


def check_target(target: float) -> None:
    """Raise unless the target is a share of time in (0, 1)."""
    if isinstance(target, bool) or not isinstance(target, int | float) or not 0 < target < 1:
        raise IsopruneError(
            f"The latency target is {target!r}, not in (0, 1). It is the share of the dense network's "
            "time that may stay: 0.5 asks for twice the speed."
        )


def prune_in_time(
    prune_at: Callable[[float], Pruned],
    dense: nn.Module,
    example_inputs: Any,
    target: float,
    *,
    backend: str | None = None,
    threads: int = 1,
) -> Pruned:
    """Return the network that `prune_to_latency` finds, timed on ``backend``; see `share_of_time`.

    The request is in ``plan.request["latency"]``; request, measured share, backend and threads are in
    ``costs.latency``.
    """
    check_target(target)
    share, backend = share_of_time(dense, example_inputs, backend=backend, threads=threads)
    result, _, left = prune_to_latency(prune_at, share, target)
    measured = {"request": target, "share": left, "backend": backend, "threads": threads}
    plan = dataclasses.replace(result.plan, request={**result.plan.request, "latency": target})
    return dataclasses.replace(result, plan=plan, costs=dataclasses.replace(result.costs, latency=measured))


def share_of_time(
    dense: nn.Module, example_inputs: Any, *, backend: str | None = None, threads: int = 1
) -> tuple[Callable[[nn.Module], float], str]:
    """Return the function network -> its time over ``dense``'s (see `paired_share`), and the backend.

    Without ``backend`` that is onnxruntime, if it is installed and runs the network, else eager.

    Raises:
        IsopruneError: If the backend is unknown or cannot run the network, with its reason.
    """
    fall_back = backend is None
    backend = backend or ("onnxruntime" if installed() else "eager")
    check_backends([backend], threads)
    with tempfile.TemporaryDirectory() as scratch, set_threads(threads):
        base = prepared(backend, dense, example_inputs, Path(scratch) / "dense.onnx", threads)
        if isinstance(base, str) and fall_back:
            backend = "eager"
            base = prepared(backend, dense, example_inputs, Path(scratch), threads)
    if isinstance(base, str):
        raise _does_not_run(backend, dense, base)
    timed: Call = base

    def share(model: nn.Module) -> float:
        with tempfile.TemporaryDirectory() as scratch, set_threads(threads):
            small = prepared(backend, model, example_inputs, Path(scratch) / "small.onnx", threads)
            if isinstance(small, str):
                raise _does_not_run(backend, model, small)
            return paired_share(timed, small)

    return share, backend


def _does_not_run(backend: str, model: nn.Module, reason: str) -> IsopruneError:
    return IsopruneError(f"{backend} does not run {type(model).__name__}: {reason}. Measure on eager.")


def paired_share(
    dense: Call,
    small: Call,
    *,
    runs: int = 60,
    seconds: float | int = 10,
    precise: float = 0.01,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the median over turns of the second call's time over the first's.

    In each turn one runs right after the other, so a machine that slows down slows both. After 9 turns,
    it ends as soon as the median is known to ``precise`` (a standard error, from the quartiles), or the
    ``seconds`` are over, or after ``runs`` turns.
    """
    for _ in range(2):
        dense()
        small()
    shares: list[float] = []
    start = clock()
    for _ in range(runs):
        begin = clock()
        dense()
        middle = clock()
        small()
        shares.append((clock() - middle) / (middle - begin))
        if len(shares) < 9:
            continue
        lower, median, upper = quartiles(shares)
        # For a normal distribution: quartiles are 1.35 sigma apart, a median errs by 1.25 sigma / sqrt(n).
        error = 1.25 * (upper - lower) / 1.35 / len(shares) ** 0.5
        if error <= precise * median or clock() - start > seconds:
            break
    return statistics.median(shares)
