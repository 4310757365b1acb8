"""LBYL: a filter that went is read through a combination of all that stay, found without data."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from isoprune.methods.layers.substitution import MadeUnits, Substitution
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types.method import method


@method("repair", "dense", "plan", source="LBYL, 2022")
def lbyl(
    pruned: Pruned, signals: Signals, *, generator: Generator, shift: float = 1.0, strength: float = 0.1
) -> nn.Module:
    r"""Return a copy in which what read a filter n that went reads :math:`\sum_m s_m` times all that stay.

    .. math:: \min_s \|w_n - \sum_m s_m w_m\|^2 + \alpha (b_n - \sum_m s_m b_m)^2 + \lambda a \|s\|^2

    over filters and biases, a BatchNorm's scale and shift multiplied in, a the mean of :math:`\|w_m\|^2`:
    the last term bounds what an activation makes of mixed signs. Filters that several layers make are
    combined as one. Readers that are grouped stay as pruned.

    It starts from the dense network: do it right after pruning. No data is read.

    Args:
        shift: :math:`\alpha`.
        strength: :math:`\lambda`.

    Cost: one forward, and a system of equations of the kept filters of each group. Memory: a copy of each
    network; of one group [units, kept], [kept, kept] and its filters, in float64.
    """
    work = Substitution(pruned)
    for units, kept in work.losing():
        work.replace_(units, kept, _combined(work.made(units), kept, shift, strength))
    return work.result()


def _combined(made: MadeUnits, kept: Tensor, shift: float, strength: float) -> Tensor:
    """Return the coefficients [n, kept]; a unit that stays is itself."""
    rows = torch.cat([made.filters, shift**0.5 * made.shifts], 1)
    K = rows[kept]
    gram = K @ K.mT
    pull = (strength * gram.diagonal().mean()).clamp_min(1e-300)
    gram.diagonal().add_(pull)
    read = torch.linalg.solve(gram, K @ rows.mT).mT.contiguous()
    read[kept] = torch.eye(len(K), dtype=read.dtype)
    return read
