"""Channel pruning by LASSO: coefficients of what channels contribute, as many zero as are to go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Generator

from isoprune.linalg.lasso import path, sparsest
from isoprune.methods.criteria.norms import l2_norm
from isoprune.methods.layers.contributions import contributions
from isoprune.signals import Signals
from isoprune.types import Scores, Units
from isoprune.types.method import method


@method(
    "criterion",
    "data",
    grains=("channel", "head"),
    updates_weights=True,
    repair="refit",
    label="Channel LASSO",
    source="He, Zhang & Sun, ICCV 2017, arXiv 1707.06168",
)
def channel_lasso(
    signals: Signals,
    units: Sequence[Units],
    *,
    generator: Generator,
    keep: Mapping[str, int] | None = None,
    samples: int = 512,
    places: int = 10,
    gigabytes: float = 12.0,
) -> Scores:
    r"""LASSO on units: :math:`\min_\beta \frac{1}{2} \|y - \sum_i \beta_i W_i x_i\|^2 + \lambda \|\beta\|_1`.

    y is what the layers that read the units make of them, at sampled places, all readers together (so what a
    residual sum feeds is rebuilt as a whole). With ``keep``, which `isoprune.prune` gives, :math:`\lambda`
    rises until no more coefficients than that are left, and these score highest. Without it a score is the
    part of a path of strengths on which the coefficient is not zero. The weights of the readers are then
    fitted by least squares: `isoprune.prune` ends with `refit`.

    No label is read. All layers are chosen on the dense network, and refit one after the other. Units that no
    layer with weights reads are scored by the norm of their weights.

    Args:
        keep: How many of which units are to stay.
        samples: How many inputs are looked at.
        places: Positions of an output map (or of a sequence), drawn for each sample.
        gigabytes: What the moments of what layers read may take; more is refused before anything is computed.

    Cost: a forward of the samples; per group a path of some sixty strengths, a linear system a step. Memory:
    [fan_in, fan_in] of every layer.
    """
    how = {"samples": samples, "places": places, "generator": generator, "gigabytes": gigabytes}
    found = contributions(signals, units, **how)
    scores = l2_norm(signals, [u for u in units if u.name not in found], generator=generator)
    for u in units:
        if u.name in found:
            M = found[u.name].total.numpy()
            number = None if keep is None else keep.get(u.name, u.size)
            scores = {**scores, u.name: torch.from_numpy(_scores(M, number)).reshape(u.shape)}
    return scores


def _scores(M: np.ndarray, number: int | None) -> np.ndarray:
    """Return the part of a path on which each coefficient stands; those that stay as ``number`` do first."""
    b = M.sum(1)  # what is to be rebuilt is the sum of all contributions
    steps = [beta for _, beta in path(M, b)]
    there = np.mean([beta != 0 for beta in steps], 0)
    sizes = np.abs(steps[-1]) / max(float(np.abs(steps[-1]).max()), 1e-300)
    scores = there + sizes / (2 * len(steps))  # of those that came together the larger first
    if number is None:
        return scores
    _, beta = sparsest(M, b, number)
    return scores + 2 * (beta != 0)
