"""LSUV: orthonormal weights, each layer scaled to unit output variance on data (Mishkin & Matas, 2016)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, nn

from isoprune.graph.cloning import copied
from isoprune.linalg import haar_matrix
from isoprune.methods.layers.passes import Reached, sweep_
from isoprune.methods.layers.stored import stored, write_
from isoprune.methods.layers.weights import weights
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types.method import method
from isoprune.types.units import DEPTH, GRAINS


# The published start draws anew; with start="kept" the result follows the order.
@method("repair", "data", grains=(*GRAINS, DEPTH), follows_order=False, source="Mishkin & Matas, 2016")
def lsuv(
    pruned: Pruned,
    signals: Signals,
    *,
    generator: Generator,
    start: Literal["orthonormal", "kept"] = "orthonormal",
    samples: int = 256,
    tolerance: int | float = 0.1,
    iterations: int = 10,
) -> nn.Module:
    r"""Return a copy where every layer's output on data has variance one, in the order in which layers run.

    A layer is divided by its output's standard deviation (over samples, positions and channels) until the
    variance is within ``tolerance`` of one; the next one reads what that leaves. The bias is divided along,
    so that one division is exact: with the published start, where biases are zero, no difference. An
    attention is scaled by its output projection. Masks are kept. BatchNorm statistics are taken anew from
    what each BatchNorm reads; its scale and shift stay. A layer whose output does not vary stays as it is.

    Args:
        start: "orthonormal": every filter matrix is drawn orthonormal and biases are zero (as published), so
            the kept weights go. "kept": they are only scaled, so that their directions stay.
        samples: How many inputs are looked at, all at once.
        tolerance: On the variance.
        iterations: Divisions of a layer at most.

    Cost: one forward of ``samples`` inputs, and a few more of each layer. Memory: a copy of the network; what
    one layer reads and makes of all ``samples``, in float64.

    Source: Mishkin & Matas, "All you need is a good init", 2016, algorithm 1.

    Raises:
        IsopruneError: Without data; if a weight is parametrised, or an output on the data is
            NaN or infinity.
    """
    inputs = signals.inputs(samples)
    repaired = copied(pruned.model)
    if start == "orthonormal":
        _draw_(repaired, generator=generator)

    def to_unit_variance(at: Reached) -> None:
        for _ in range(iterations):
            variance = float(at.made().var(correction=0))
            if variance == 0 or abs(variance - 1) < tolerance:
                return
            at.layer.scale_(variance**-0.5, bias=variance**-0.5)

    sweep_(repaired, inputs, to_unit_variance, settle=True)
    return repaired


def _draw_(model: nn.Module, *, generator: Generator) -> None:
    for weight in weights(model):
        W = weight.matrices
        weight.write_(torch.stack([haar_matrix(*w.shape, generator=generator).to(w) for w in W]))
        for key in ("bias", "in_proj_bias"):
            bias = stored(weight.module, key)
            if bias is not None:
                write_(weight.module, key, torch.zeros_like(bias))
