"""Optimal brain compression: every row of a layer loses weights one by one, and is refit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from isoprune.linalg.low_rank import alike
from isoprune.linalg.row_elimination import refit_rows, traces
from isoprune.methods.layers.layer_moments import LayerMoments, layer_moments
from isoprune.pruning.unit_scores import score_units
from isoprune.signals import Signals
from isoprune.signals.matrices import TRANSPOSED
from isoprune.signals.work import require_work
from isoprune.types import Units, UpdatingScores
from isoprune.types.method import method

_ORDER = 1e-10  # of the greatest score: what is added from one turn to the next


@method(
    "criterion",
    "data",
    grains=("weight", "vector", "kernel", "n:m"),
    updates_weights=True,
    label="OBC",
    source="Frantar & Alistarh, NeurIPS 2022, arXiv 2208.11580",
)
def obc(
    signals: Signals,
    units: Sequence[Units],
    *,
    generator: Generator,
    samples: int = 256,
    places: int = 64,
    ridge: float = 1e-6,
    block: int | None = None,
    work: float = 1e12,
    gigabytes: float = 4.0,
) -> UpdatingScores:
    r"""Rise of a layer's squared output error when each weight goes in its turn, the row being refit.

    A row w of a layer reads x, :math:`A = E[x x^\top]`. It loses the weight with the least
    :math:`w_j^2 / [A^{-1}]_{jj}`, the others make up for it, j is eliminated from the inverse, and so on to
    its end. A weight's score is the greatest rise up to its turn, so that the lowest scores of all rows are
    what always taking the cheapest next step of any row would take. Vectors and kernels go as one. With n:m a
    row takes no more than m - n of m neighbours. In the end every row is the least-squares refit to what it
    keeps: error and update are exact for a layer whose inputs stay. No label is read.

    Weights of other tensors than Linear layers', convolutions' and attentions' are scored by their squares,
    and stay as they are.

    Args:
        samples: How many inputs are looked at.
        places: Positions of an output map (or of a sequence) in each.
        ridge: Added to A's diagonal, relative to its mean.
        block: How many neighbours of a row are eliminated together, others being left as they are; None: the
            row.
        work: Multiply-adds that it may take; more is refused before anything is computed.
        gigabytes: What the moments of the inputs may take.

    Cost: a forward a sample; a third of filters times fan_in times block squared multiply-adds. Memory: A
    of every layer, and inverses of 256 MiB at a time.
    """
    tensors = {u.name: u.members[0].tensor for u in units}
    _require_work(signals, list(tensors.values()), block, work)
    how = {"samples": samples, "places": places, "gigabytes": gigabytes, "generator": generator}
    moments = layer_moments(signals, list(tensors.values()), slopes=False, **how)
    rows = {
        tensors[u.name]: _Rows.of(u, moments[tensors[u.name]], block, ridge)
        for u in units
        if tensors[u.name] in moments
    }
    others = [u for u in units if tensors[u.name] not in rows]
    scores = dict(score_units(signals.weights, others, lambda total, _: total, each=torch.square))
    scores |= {u.name: rows[tensors[u.name]].scores(u) for u in units if tensors[u.name] in rows}

    def update(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: rows[name].refit(kept) for name, kept in masks.items() if name in rows}

    return UpdatingScores(scores, update)


@dataclass(frozen=True)
class _Rows:
    """The rows of a weight, and which of their columns go as one and share an inverse.

    Attributes:
        units: The unit of every element, [blocks, rows, columns].
        inputs: A, positive definite, [blocks, columns, columns].
        pieces: Of each share of the columns the groups in it, [groups, size].
        buckets: Which n:m neighbourhood each column is in; None for other grains.
        stays: n, of n:m.
    """

    moments: LayerMoments
    units: Tensor
    inputs: Tensor
    pieces: tuple[Tensor, ...]
    buckets: Tensor | None
    stays: int

    @classmethod
    def of(cls, units: Units, moments: LayerMoments, block: int | None, ridge: float) -> _Rows:
        (member,), shape = units.members, moments.weight.parameter.shape
        each = torch.arange(units.size).reshape(units.shape) if member.unit is None else member.unit
        of_each = moments.weight.arranged(each.expand(shape))
        ((_, groups),) = alike(of_each[0, 0].unique(return_inverse=True)[1])
        mean = moments.inputs.diagonal(dim1=1, dim2=2).mean(1)
        damping = ridge * torch.where(mean > 0, mean, 1.0)[:, None, None]
        A = moments.inputs + damping * torch.eye(moments.inputs.shape[1], dtype=torch.float64)
        pieces = groups.split(max(1, (block or groups.numel()) // groups.shape[1]))
        buckets, n = None, 0
        if units.numbers is not None:
            n, m = units.numbers
            inner = 0 if isinstance(moments.weight.module, TRANSPOSED) else 1
            flat = torch.arange(shape.numel()).reshape(shape)
            at = torch.arange(shape[inner]) // m * shape.numel()
            along = at.reshape([-1 if d == inner else 1 for d in range(len(shape))])
            buckets = moments.weight.arranged(flat.narrow(inner, 0, 1) + along)[:, 0]
        return cls(moments, of_each, A, pieces, buckets, n)

    def scores(self, units: Units) -> Tensor:
        """Return the scores of the units: the greatest rise up to the turn of each."""
        found = torch.zeros(units.size, dtype=torch.float64)
        for b, W in enumerate(self.moments.matrices):
            # What is always zero is missed by none.
            W = torch.where(self.moments.inputs[b].diagonal() > 0, W, 0.0)
            for groups in self.pieces:
                columns, how = groups.flatten(), {}
                if self.buckets is not None:
                    bucket = self.buckets[b, groups[:, 0]].unique(return_inverse=True)[1]
                    how = {"bucket": bucket, "most": (bucket.bincount() - self.stays).clamp_min(0)}
                local = torch.arange(len(columns)).reshape(groups.shape)
                losses, turns = traces(self.inputs[b][columns][:, columns], W[:, columns], local, **how)
                found[self.units[b][:, groups[:, 0]]] = _up_to(losses, turns)
        return found.reshape(units.shape)

    def refit(self, kept: Tensor) -> Tensor:
        """Return the weight, zero outside of ``kept``, every row nearest to what it made."""
        stays, new = self.moments.weight.arranged(kept.cpu()), self.moments.matrices.clone()
        for b, W in enumerate(new):
            for groups in self.pieces:
                columns = groups.flatten()
                A = self.inputs[b][columns][:, columns]
                W[:, columns] = refit_rows(A, W[:, columns], stays[b][:, columns])
        return self.moments.weight.laid_back(new)


def _up_to(losses: Tensor, turns: Tensor) -> Tensor:
    """Return the greatest loss up to each turn, and a little more from turn to turn; [rows, groups]."""
    order = losses.argsort(dim=1, stable=True)
    order = order.gather(1, turns.gather(1, order).argsort(dim=1, stable=True))
    greatest = losses.gather(1, order).cummax(1).values
    greatest = greatest + _ORDER * greatest.max() * torch.arange(1, losses.shape[1] + 1)
    return torch.empty_like(losses).scatter(1, order, greatest)


def _require_work(signals: Signals, tensors: Sequence[str], block: int | None, work: float) -> None:
    """Refuse what would take too long, with the block that would not.

    Raises:
        IsopruneError: If it takes more multiply-adds than ``work``.
    """
    sizes = []
    for name in tensors:
        matrices = signals.matrices.get(name)
        w = signals.weights[name]
        sizes.append((w.numel(), w.numel() // len(w) if matrices is None else matrices.shape[2]))

    def needed(block: int) -> float:
        return sum(number * min(block, row) ** 2 for number, row in sizes) / 3

    longest = max((row for _, row in sizes), default=1)
    fits = max((b for i in range(13) if needed(b := 2**i) <= work), default=1)
    require_work(
        f"Rows of up to {block or longest} weights take",
        needed(block or longest),
        work,
        f"Lower block (at {fits} it is {needed(fits):.0e})",
    )
