"""The smallest ratio whose network runs in so much of the dense one's time, by measuring few of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from isoprune.export.backends import prepared
from isoprune.export.latency import quartiles, set_threads, take_turns
from isoprune.pruning import PruneResult
from isoprune.types import IsopruneError

MEASUREMENTS = 7
HIGHEST = 0.95  # ratio; beyond it, nothing is left that would be worth the time


def prune_to_latency(
    prune_at: Callable[[float], PruneResult],
    time_share: Callable[[nn.Module], float],
    target: float,
    *,
    measurements: int = MEASUREMENTS,
    on_try: Callable[[int, float, float], object] | None = None,
) -> tuple[PruneResult, float, float]:
    """Return the network of the smallest ratio found that meets the target, its ratio, and its share of time.

    Bisection: after ``measurements`` networks the ratio is known to 0.95 / 2 ** (measurements - 1).

    Args:
        prune_at: ratio -> what `prune` returns.
        time_share: network -> its time over the dense one's, measured; see `share_of_time`.
        target: The share of the dense network's time that may stay, in (0, 1).
        measurements: How many networks are made and timed, at most.
        on_try: Called with the number of the measurement, its ratio and its share.

    Raises:
        IsopruneError: If the target is not in (0, 1), or a ratio of 0.95 is still too slow.
    """
    if not 0 < target < 1 or measurements < 1:
        raise IsopruneError(
            f"The latency target is {target!r}, not in (0, 1). It is the share of the dense network's "
            "time that may stay: 0.5 asks for twice the speed."
        )
    low, high = 0.0, HIGHEST
    best: tuple[PruneResult, float, float] | None = None
    ratio = high
    for number in range(measurements):
        result = prune_at(ratio)
        share = time_share(result.model)
        if on_try is not None:
            on_try(number + 1, ratio, share)
        if share <= target:
            best, high = (result, ratio, share), ratio
        elif number == 0:
            raise IsopruneError(
                f"No ratio brings the time to {target:.2f} of the dense network's: at ratio {ratio} it still "
                f"takes {share:.2f}. Ask for a larger share, or see which channels are frozen."
            )
        else:
            low = ratio
        ratio = (low + high) / 2
    if best is None:  # not reached: the first measurement met the target or raised
        raise IsopruneError("No network was measured.")
    return best


def share_of_time(
    dense: nn.Module,
    example_inputs: Any,
    *,
    backend: str = "eager",
    threads: int = 1,
    runs: int = 15,
    seconds: float | int = 10,
) -> Callable[[nn.Module], float]:
    """Return the function network -> its median time over ``dense``'s, the two taking turns on ``backend``.

    Raises:
        IsopruneError: If the backend cannot run the network, with its reason.
    """

    def ready(model: nn.Module, file: Path) -> Callable[[], Any]:
        call = prepared(backend, model, example_inputs, file, threads)
        if isinstance(call, str):
            raise IsopruneError(f"{backend} does not run {type(model).__name__}: {call}. Measure on eager.")
        return call

    with tempfile.TemporaryDirectory() as scratch, set_threads(threads):
        base = ready(dense, Path(scratch) / "dense.onnx")

    def share(model: nn.Module) -> float:
        with tempfile.TemporaryDirectory() as scratch, set_threads(threads):
            calls = {"dense": base, "small": ready(model, Path(scratch) / "small.onnx")}
            times = take_turns(calls, runs=runs, warm_up=2, seconds=seconds)
        return quartiles(times["small"])[1] / quartiles(times["dense"])[1]

    return share
