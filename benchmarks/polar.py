"""Polar factors by Newton-Schulz against the SVD, on the layers of resnet50: python benchmarks/polar.py

Filter matrices of torch's default initialisation (seed 0), in float32, one thread; the best of three runs.
*Error* is the largest difference to the factor by SVD in float64. The last line is the whole network.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from isoprune.linalg import filter_matrix, newton_schulz_factor, polar_factor

RUNS = 3


def matrices() -> list[tuple[Tensor, int]]:
    """Return one filter matrix of every shape, and how many layers have it."""
    torch.manual_seed(0)
    layers = [m for m in resnet50().modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    counts = Counter(tuple(filter_matrix(layer.weight).shape) for layer in layers)
    first = {tuple(W.shape): W for W in (filter_matrix(layer.weight.detach()) for layer in reversed(layers))}
    return [(first[shape], count) for shape, count in sorted(counts.items())]


def seconds(f: Callable[[Tensor], Tensor], W: Tensor) -> float:
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        f(W)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'filters x fan_in':>17} {'layers':>6} {'SVD ms':>8} {'N-S ms':>8} {'times':>6}", end=" ")
    print(f"{'SVD error':>10} {'N-S error':>10}")
    total = [0.0, 0.0]
    for W, count in matrices():
        exact = polar_factor(W.double())
        spent = [seconds(f, W) for f in (polar_factor, newton_schulz_factor)]
        errors = [float((f(W) - exact).abs().max()) for f in (polar_factor, newton_schulz_factor)]
        total = [t + count * s for t, s in zip(total, spent, strict=True)]
        svd, products = (1e3 * s for s in spent)
        shape = f"{W.shape[0]} x {W.shape[1]}"
        print(f"{shape:>17} {count:>6} {svd:>8.1f} {products:>8.1f} {svd / products:>6.1f}", end=" ")
        print(f"{errors[0]:>10.1e} {errors[1]:>10.1e}")
    print(f"{'all':>17} {'':>6} {1e3 * total[0]:>8.0f} {1e3 * total[1]:>8.0f} {total[0] / total[1]:>6.1f}")


if __name__ == "__main__":
    main()
