"""Four corners: dense and pruned, in float32 and in int8 by onnxruntime's static quantisation; one table.

    python benchmarks/int8.py [--model resnet_small] [--data mnist] [--root DIR] [--ratio 0.5] [--epochs 3]

The network is trained, pruned by whole channels and retrained; both are written as ONNX and quantised (QDQ,
weights int8 per channel, activations int8 by the range on 256 training images). Accuracy is that of the test
split as onnxruntime computes it, bytes those of the file, time the median of a batch on one thread, the four
in turns. onnxruntime, not torchao: ONNX is what isoprune writes, and its int8 kernels run on any CPU.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quant_pre_process, quantize_static
from rich.console import Console
from rich.table import Table

import isoprune
from isoprune.types.samples import inputs_at

CALIBRATION, BATCH = 256, 64


class Images(CalibrationDataReader):
    """Calibration images in batches, under the name of the network's input."""

    def __init__(self, images: torch.Tensor, name: str) -> None:
        self.batches = iter([{name: part.numpy()} for part in images.split(BATCH)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def quantised(path: Path, images: torch.Tensor) -> Path:
    """Write the int8 form of an ONNX file beside it."""
    name = session(path).get_inputs()[0].name
    ready, done = path.with_suffix(".ready.onnx"), path.with_suffix(".int8.onnx")
    quant_pre_process(str(path), str(ready))
    kinds = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
    quantize_static(str(ready), str(done), Images(images, name), per_channel=True, **kinds)
    return done


def accuracy(run: onnxruntime.InferenceSession, test) -> float:
    name, right = run.get_inputs()[0].name, 0
    for inputs, targets in test.batches(torch.arange(len(test)).split(BATCH)):
        right += int((run.run(None, {name: inputs.numpy()})[0].argmax(1) == targets.numpy()).sum())
    return right / len(test)


def times(
    runs: dict[str, onnxruntime.InferenceSession], images: torch.Tensor, rounds: int
) -> dict[str, float]:
    """Return the median milliseconds of a batch, the networks taking turns."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            run.run(None, {run.get_inputs()[0].name: images.numpy()})
            found[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(each[3:]) for name, each in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet_small")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--root", type=Path, help="where the files of the data set are")
    parser.add_argument("--limit", type=int, help="training images")
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=3, help="of both trainings")
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--rounds", type=int, default=33, help="timed batches of each network")
    args = parser.parse_args()
    torch.set_num_threads(1)
    options = {key: value for key in ("root", "limit") if (value := getattr(args, key)) is not None}
    splits = isoprune.data.load(args.data, seed=0, **options)
    how = {"epochs": args.epochs, "lr": args.lr, "schedule": "one_cycle", "batch": 128}
    make = getattr(isoprune.models, args.model)
    start = make(splits.in_shape, splits.classes, generator=torch.Generator().manual_seed(0))
    dense = isoprune.retrain(start, splits, **how)
    example = inputs_at(splits.train, torch.arange(2))
    small = isoprune.retrain(isoprune.prune(dense.model, example, args.ratio), splits, **how)
    images = inputs_at(splits.train, torch.arange(CALIBRATION))
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, Path] = {}
        for name, network in (("dense", dense), ("pruned", small)):
            path = Path(folder) / f"{name}.onnx"
            isoprune.export_onnx(network, path, example)
            files |= {f"{name}, float32": path, f"{name}, int8": quantised(path, images)}
        runs = {name: session(path) for name, path in files.items()}
        taken = times(runs, images[:BATCH], args.rounds)
        table = Table("network", "test accuracy %", "bytes", f"ms for {BATCH}", "times faster", box=None)
        for name, run in runs.items():
            gain = taken["dense, float32"] / taken[name]
            cells = f"{100 * accuracy(run, splits.test):.2f}", f"{files[name].stat().st_size:,}"
            table.add_row(name, *cells, f"{taken[name]:.2f}", f"{gain:.2f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
