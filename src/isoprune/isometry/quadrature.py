"""From bidiagonal matrices to traces: how large the mean singular value is, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from isoprune.isometry.krylov import Krylov


@dataclass(frozen=True)
class Measure:
    """A spectral measure of J seen from the start block, for n matrices at a time."""

    sigma: Tensor  # [n, nodes]
    weight: Tensor  # [n, nodes], sums to one


def gauss(krylov: Krylov, steps: int) -> Measure:
    """Return the Gauss measure of ``steps`` steps: of the square root, it overestimates the trace."""
    k = steps * krylov.block
    return _measure(krylov.small[:, :k, :k], krylov.block)


def radau(krylov: Krylov, steps: int) -> Measure:
    """Return the Gauss-Radau measure with a node at zero: of the square root, it underestimates the trace."""
    k = steps * krylov.block
    below = _measure(krylov.small[:, : k + krylov.block, :k], krylov.block)
    at_zero = (1 - below.weight.sum(1, keepdim=True)).clamp_min(0)
    return Measure(
        torch.cat([below.sigma, torch.zeros_like(at_zero)], 1), torch.cat([below.weight, at_zero], 1)
    )


def _measure(small: Tensor, block: int) -> Measure:
    P, sigma, _ = torch.linalg.svd(small, full_matrices=False)
    return Measure(sigma, P[:, :block].square().mean(1))


@dataclass(frozen=True)
class Bracket:
    """Lower and upper estimate of the mean singular value seen by the start block."""

    low: Tensor
    high: Tensor
    share: Tensor  # of ``high`` in the value

    @property
    def value(self) -> Tensor:
        return self.share * self.high + (1 - self.share) * self.low


def bracket(krylov: Krylov) -> Bracket:
    """Return the bracket after all steps, with the share extrapolated from how it closed so far.

    Between two numbers of steps, the share that makes the value in between stand still is
    (rise of low) / (rise of low + fall of high). It changes slowly with the steps (towards 0 with values at
    zero, towards 2/3 or 1 without), so that of a quarter to half and that of half to all are extended one
    octave on.
    """
    m = krylov.steps
    marks = [max(round(m / 4), 1), max(round(m / 2), 2), m]
    highs = [_mean(gauss(krylov, j)) for j in marks]
    lows = [_mean(radau(krylov, j)) for j in marks]

    def share(a: int, b: int) -> Tensor:
        fall, rise = highs[a] - highs[b], lows[b] - lows[a]
        closed = fall + rise
        still = closed <= 1e-9 * highs[b]
        return torch.where(still, 0.5, rise / torch.where(still, 1.0, closed)).clamp(0, 1)

    early, late = share(0, 1), share(1, 2)
    return Bracket(lows[2], highs[2], (2 * late - early).clamp(0, 1))


def _mean(measure: Measure) -> Tensor:
    return (measure.sigma * measure.weight).sum(1)
