"""Measured time beside counted multiply-adds, so that "smaller but not faster" shows."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isoprune.export.backends import BACKENDS, Call, check_backends, prepared
from isoprune.export.proof_text import odd_in_words
from isoprune.pruning.costs import cost_of
from isoprune.types import IsopruneError
from isoprune.types.shown import shown


@dataclass(frozen=True)
class Timing:
    """Seconds of one network on one backend: median, lower and upper quartile, of so many runs.

    ``gain`` is the first network's median over this one's; ``problem`` says why there is no time.
    """

    model: str
    backend: str
    median: float
    lower: float
    upper: float
    runs: int
    gain: float
    problem: str = ""


@shown
@dataclass(frozen=True, repr=False)
class LatencyReport:
    """Times of each network on each backend, beside parameters and multiply-adds; gains are over the first.

    ``str(report)`` is the sentences: what is smaller but not faster, and which widths may be the reason.
    """

    timings: tuple[Timing, ...]
    flops: Mapping[str, int]
    parameters: Mapping[str, int]
    flops_gain: Mapping[str, float]
    threads: int
    sentences: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def gain(self, model: str, backend: str) -> float:
        """Return how many times faster ``model`` is than the first network on ``backend``."""
        return next(t.gain for t in self.timings if (t.model, t.backend) == (model, backend))

    def as_rows(self) -> list[dict[str, Any]]:
        """Return one row a network and backend, for a table; milliseconds."""
        return [
            {
                "model": t.model,
                "backend": t.backend,
                "median_ms": 1e3 * t.median,
                "lower_ms": 1e3 * t.lower,
                "upper_ms": 1e3 * t.upper,
                "runs": t.runs,
                "gain": t.gain,
                "flops_gain": self.flops_gain[t.model],
                "of_flops_gain": t.gain / self.flops_gain[t.model],
                "problem": t.problem,
            }
            for t in self.timings
        ]


def latency(
    models: Mapping[str, nn.Module],
    example_inputs: Any,
    *,
    backends: Sequence[str] = BACKENDS,
    threads: int = 1,
    runs: int = 30,
    warm_up: int = 3,
    seconds: float | int = 20,
    on_backend: Callable[[str], object] | None = None,
) -> LatencyReport:
    """Return how long each network's forward takes, beside the speed-up that its FLOPs promise.

    The networks take turns (A B A B ...), so a machine that slows down slows all of them down. All run in
    eval mode without gradients; the networks are left as they were.

    Args:
        models: Name -> network; the first, usually the dense one, is what the others are held against.
        example_inputs: What their forwards take, with the batch that matters to you.
        backends: Of "eager", "compile" (torch.compile) and "onnxruntime". One that cannot run a network
            is reported with its reason.
        threads: Threads of an operation, in torch and in onnxruntime.
        runs: Timed forwards of each network on each backend, at most.
        warm_up: Forwards before the clock starts.
        seconds: Timing stops after so long on a backend, after at least 5 runs of each network.
        on_backend: Called with a backend's name as it begins, for a progress display.

    Raises:
        IsopruneError: For an unknown backend, no networks, or a forward that does not run.
    """
    check_backends(backends, threads)
    if not backends or not models or runs < 1:
        raise IsopruneError(
            f"Nothing to time: {len(models)} networks on {len(backends)} backends, {runs} runs. Give at "
            f"least one of each; backends are {', '.join(BACKENDS)}."
        )
    work = {name: cost_of(model, example_inputs) for name, model in models.items()}
    timings: list[Timing] = []
    with set_threads(threads), tempfile.TemporaryDirectory() as scratch:
        for backend in backends:
            if on_backend is not None:
                on_backend(backend)
            if backend == "compile":
                # torch.compile gives up, and says nothing, after a few networks of one class.
                torch.compiler.reset()
            calls: dict[str, Call | str] = {
                name: prepared(backend, model, example_inputs, Path(scratch) / f"{i}.onnx", threads)
                for i, (name, model) in enumerate(models.items())
            }
            ready = {name: call for name, call in calls.items() if not isinstance(call, str)}
            times = take_turns(ready, runs=runs, warm_up=warm_up, seconds=seconds)
            timings += _timings(backend, calls, times)
    first = next(iter(models))
    gains = {name: work[first].flops / max(w.flops, 1) for name, w in work.items()}
    return LatencyReport(
        tuple(timings),
        {name: w.flops for name, w in work.items()},
        {name: w.parameters for name, w in work.items()},
        gains,
        threads,
        (*_verdicts(timings, gains), *_widths(models)),
    )


def take_turns(
    calls: Mapping[str, Call],
    *,
    runs: int,
    warm_up: int,
    seconds: float | int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Return the seconds of each run of each call: one run of each in turn, ``runs`` times."""
    for _ in range(warm_up):
        for call in calls.values():
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    start = clock()
    for done in range(runs):
        if done >= 5 and clock() - start > seconds:
            break
        for name, call in calls.items():
            begin = clock()
            call()
            times[name].append(clock() - begin)
    return times


def quartiles(times: Sequence[float]) -> tuple[float, float, float]:
    """Return lower quartile, median and upper quartile."""
    if len(times) == 1:
        return times[0], times[0], times[0]
    lower, median, upper = statistics.quantiles(times, n=4, method="inclusive")
    return lower, median, upper


def _timings(
    backend: str, calls: Mapping[str, Call | str], times: Mapping[str, Sequence[float]]
) -> Iterator[Timing]:
    base: float | None = None
    for i, (name, call) in enumerate(calls.items()):
        if isinstance(call, str):
            nan = float("nan")
            yield Timing(name, backend, nan, nan, nan, 0, nan, call)
            continue
        lower, median, upper = quartiles(times[name])
        base = median if i == 0 else base
        gain = float("nan") if base is None else base / median
        yield Timing(name, backend, median, lower, upper, len(times[name]), gain)


@contextmanager
def set_threads(number: int) -> Iterator[None]:
    """Let torch use so many threads in an operation, until the block ends."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _verdicts(timings: Sequence[Timing], flops: Mapping[str, float]) -> Iterator[str]:
    first = timings[0].model
    for t in timings:
        if t.problem:
            yield f"{t.model} does not run on {t.backend}: {t.problem}."
        elif t.model != first and t.gain == t.gain:
            did = f"{t.model} has {flops[t.model]:.2f} times fewer multiply-adds than {first}"
            if flops[t.model] > 1.1 and t.gain < 1.05:
                yield f"{did} and is not faster on {t.backend} ({t.gain:.2f} times): smaller but not faster."
            else:
                part = t.gain / flops[t.model]
                yield f"{did} and is {t.gain:.2f} times faster on {t.backend}: {part:.0%} of that gain."


def _widths(models: Mapping[str, nn.Module]) -> Iterator[str]:
    dense, *others = models.items()
    for name, model in others:
        yield from odd_in_words(dense[1], model, name)
