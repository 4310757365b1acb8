"""Rows of a study that never was: what a network reaches is a known function of what was measured."""

from __future__ import annotations

import numpy as np
import polars as pl

FAMILIES = ("mlp", "lenet", "vgg", "resnet")
MEASURE_OF = {"useful": "first", "twin": "first", "noise": "second", "dear": "third"}
SLOPE, NOISE = (
    3.0,
    0.5,
)  # points for each unit of "useful", and the standard deviation of what nothing foretells


def rows(networks: int = 160, *, seed: int = 0, noise: float = NOISE, shift: float = 0.0) -> pl.DataFrame:
    """Return a row for each network and budget, at one rate.

    Points below dense are 10 + `SLOPE` useful + 2 (4 - log10 samples) and noise. ``shift``: how far
    the last family's numbers lie from the others'.
    """
    rng = np.random.default_rng(seed)
    made = []
    for n in range(networks):
        family = n % len(FAMILIES)
        useful = float(rng.normal(shift * (family == 3), 1.0))
        left = float(rng.uniform(0.1, 0.9))
        extra, dense = rng.normal(size=2), 0.85 + 0.02 * float(rng.normal())
        for budget, samples in (("short", 1000), ("full", 10000)):
            points = 10 + SLOPE * useful + 2 * (4 - np.log10(samples)) + noise * float(rng.normal())
            made.append(
                {
                    "network": f"n{n}", "family": FAMILIES[family], "data": "digits", "grain": "channel",
                    "criterion": "l1_norm", "repair": "none", "ratio": (0.3, 0.5, 0.7)[n % 3], "seed": n % 2,
                    "budget": budget, "samples": float(samples), "lr": 0.01, "dense_accuracy": dense,
                    "before_accuracy": 0.1, "accuracy": dense - points / 100,
                    "validation_accuracy": dense - points / 100, "seconds": samples / 1000,
                    "parameters_left": left, "flops_left": left, "points": points,
                    "m.useful": useful, "m.twin": useful + 0.3 * extra[0], "m.noise": extra[1],
                    "m.dear": points, "s.first": 0.1, "s.second": 0.1, "s.third": 9.0,
                }
            )  # fmt: skip
    return pl.DataFrame(made)
