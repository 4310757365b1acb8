"""Least squares: give back what the dense network's layers made, from the inputs that are left."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from isoprune.graph.cloning import clone_sharing
from isoprune.linalg.rectified import rectified_fit
from isoprune.linalg.ridge import STRENGTHS, Fit, Moments, ridge
from isoprune.methods.repairs.attention import ProjectionBlock, projections, taken_apart
from isoprune.methods.repairs.goals import Goals, goals
from isoprune.methods.repairs.kept_outputs import Kept, kept_outputs
from isoprune.methods.repairs.norms import Affine, follow_
from isoprune.methods.repairs.probe import Callbacks, Site, Stop, made_at, read_at, sites, watch
from isoprune.methods.repairs.stored import copied
from isoprune.methods.repairs.weights import Weight, shared_with_tables, weights
from isoprune.pruning.pruned import Pruned
from isoprune.signals.matrices import LAYERS
from isoprune.signals.modes import in_eval_mode
from isoprune.signals.samples import cut
from isoprune.signals.signals import Signals
from isoprune.types.method import method

_FOLDS = 4
_log = logging.getLogger(__name__)


@method("repair", "data", "dense", "plan", source="He et al., 2017")
@torch.no_grad()
def reconstruct(
    pruned: Pruned,
    signals: Signals,
    *,
    generator: Generator,
    samples: int = 2048,
    places: int = 16,
    give: float = 0.02,
    rectified: int = 0,
    memory: int = 2 * 2**30,
) -> nn.Module:
    r"""Return a copy whose layers make, as well as they can, what the dense network's layers made.

    Layer by layer, in the order in which they run: x is what the layer reads now (with the layers before it
    repaired), y what the dense network's layer made of the same sample in the channels that are left, and

    .. math:: \min_{W, b} \tfrac1N \sum_n |y_n - W x_n - b|^2 + \lambda a \|W - W_{kept}\|_F^2

    with a the mean eigenvalue of the inputs' covariance and :math:`\lambda` by cross-validation over samples:
    a pull toward the kept weights, so that with few samples little changes. No labels are read. The last
    bit of fit is not worth having: it takes long weights, which make the loss sharp, and a sharp network
    diverges at learning rates that the dense one was trained with. ``give`` is what is given up for that.

    - Groups of a convolution are fitted each on its own; a mask is kept, row by row.
    - Where a BatchNorm follows, it takes over b, and its statistics become those of the new outputs, in eval
      mode as in train mode the same function. That leaves the length of W free: it stays what it was, since
      under BatchNorm the effective learning rate goes with :math:`1 / \|W\|^2`.
    - Where the output (or the BatchNorm's) goes into a sum, y is what the sum lacks: the dense network's sum
      less the other operand as it is now. So errors of the blocks before do not add up (He et al., 2017).
    - A layer that is tied to an embedding stays as it is: what all others read would change with it.
    - An attention's projections are layers like others. Queries are wanted with the factor that makes up for
      narrower heads. One whose forward is not torch's own keeps its weights, and the log says so.
    - A transposed convolution reads zeros between its inputs, as many as its stride asks for, by its flipped
      filters: at each place a few of their taps.

    ``isoprune.methods.repairs.reconstruct`` logs each layer's held-out error and time at level INFO.

    Args:
        samples: How many inputs, each once.
        places: Positions of an output map (or of a sequence) that are looked at, drawn for each sample.
        give: Part of the held-out gain that may be lost by a stronger pull, in [0, 1].
        rectified: Rounds in which a layer that only a ReLU reads is fitted to what passes it: see
            `rectified_fit`. Without masks, and where what the layer reads fits into ``memory``.
        memory: Bound in bytes on the dense network's outputs at those places.

    Cost: a forward of the dense network, and per layer a forward up to it and `_FOLDS` + 1
    eigendecompositions of [fan_in, fan_in] (at most [samples x places, samples x places]).

    Raises:
        IsopruneError: Without data; if dense network and plan do not belong to the pruned
            network; beyond memory.

    Sources: He, Zhang & Sun, 2017 (channel pruning by reconstruction); Luo, Wu & Lin, 2017 (ThiNet: sampled
    places).
    """
    chunks = list(signals.chunks(samples))
    example = cut(chunks[0], 0, 1)
    # Attentions are taken apart for a while: not in the user's network.
    repaired, dense = copied(pruned.model), clone_sharing(pruned.dense)
    stored_weights = weights(repaired)
    kept, factors = kept_outputs(dense, stored_weights, pruned.plan, example)
    with in_eval_mode(repaired, dense), taken_apart(repaired) as parts, taken_apart(dense) as whole:
        shared = shared_with_tables(repaired)
        free = [w for w in stored_weights if id(w.parameter) not in shared]
        found = {w.name: w for w in free if isinstance(w.module, LAYERS)}
        found |= {w.name: w for w in projections(stored_weights, parts)}
        kept |= {name: kept[part.weight].part(part) for name, part in parts.items() if name in found}
        _tell_whole(stored_weights, parts)
        originals = {
            name: whole[name].projection if name in parts else dense.get_submodule(name) for name in found
        }
        order = sites(dense, example, originals)
        for site in order:
            factor = factors.get(f"{site.norm}.weight")
            if factor is not None:
                kept[site.name] = replace(kept[site.name], norm=factor)
        wanted = goals(dense, originals, kept, chunks, most=places, generator=generator, memory=memory)
        for site in order:
            began = time.perf_counter()
            affine = _affine(dense, site, kept[site.name])
            layer = _Layer(site, found[site.name], repaired, wanted, chunks, affine)
            fits = layer.fits(give, rectified, memory)
            layer.write_(fits)
            told = max((f.left for f in fits if f.left is not None), default=float("nan"))
            _log.info("%s: %.3g of the variance left, %.1f s", site.name, told, time.perf_counter() - began)
    return repaired


def _tell_whole(stored_weights: Sequence[Weight], parts: Mapping[str, ProjectionBlock]) -> None:
    fitted = {part.weight for part in parts.values()}
    for weight in stored_weights:
        if isinstance(weight.module, nn.MultiheadAttention) and weight.name not in fitted:
            kind = type(weight.module).__name__
            _log.info("%s: stays as it is, since %s has a forward of its own", weight.name, kind)


def _affine(dense: nn.Module, site: Site, kept: Kept) -> Affine | None:
    norm = None if site.norm is None else dense.get_submodule(site.norm)
    affine = Affine.of(norm, kept.rows) if isinstance(norm, _BatchNorm) else None
    return None if affine is None else Affine(affine.scale * kept.norm, affine.shift * kept.norm)


@dataclass(frozen=True)
class _Layer:
    """One layer of the network under repair, and what is wanted of it."""

    site: Site
    weight: Weight
    network: nn.Module
    goals: Goals
    chunks: Sequence[Any]
    affine: Affine | None  # of the dense network's BatchNorm behind it

    def fits(self, give: float, rectified: int, memory: int) -> list[Fit]:
        """Return the fit of every group."""
        rows = sum(where.numel() for key, where in self.goals.where.items() if key[0] == self.site.name)
        W0 = self.weight.matrices
        if self.weight.mask is None and W0.shape[2] > rows:
            return [self._wide(g, W0[g], give) for g in range(len(W0))]
        masks = self.weight.masks
        sums: list[list[Moments]] = [[] for _ in W0]
        aware = rectified and self.site.relu and self.weight.mask is None
        seen = list(self._data()) if aware and 4 * rows * W0.shape[0] * sum(W0.shape[1:]) < memory else None
        for X, Y in seen or self._data():
            for g, moments in enumerate(sums):
                new = [Moments.of(*(t[k::_FOLDS, :, g].flatten(0, 1) for t in (X, Y))) for k in range(_FOLDS)]
                moments[:] = [a + b for a, b in zip(moments, new, strict=True)] if moments else new
        free = self._intercept
        fits = [
            ridge([m for m in moments if m.n], W0[g], intercept=free, give=give, mask=masks[g])
            for g, moments in enumerate(sums)
        ]
        if seen is None:
            return fits
        return [self._rectified(seen, g, sums[g], fit, rectified) for g, fit in enumerate(fits)]

    def _rectified(
        self, seen: Sequence[tuple[Tensor, Tensor]], g: int, folds: Sequence[Moments], fit: Fit, rounds: int
    ) -> Fit:
        data = [(X[:, :, g].flatten(0, 1), Y[:, :, g].flatten(0, 1)) for X, Y in seen]
        outputs = slice(g * len(fit.b), (g + 1) * len(fit.b))
        ones = torch.ones_like(fit.b)
        scale, shift = (ones, 0 * ones) if self.affine is None else (
            self.affine.scale[outputs], self.affine.shift[outputs]
        )  # fmt: skip
        how = {"scale": scale, "shift": shift, "intercept": self._intercept, "rounds": rounds}
        return rectified_fit(data, reduce(add, folds), self.weight.matrices[g], fit, **how)

    def _wide(self, g: int, W0: Tensor, give: float) -> Fit:
        """Fit in the span of the samples, all that they can change, where it is the smaller space."""
        data = [(X[:, :, g].flatten(0, 1), Y[:, :, g].flatten(0, 1)) for X, Y in self._data()]
        X, Y = (torch.cat(parts) for parts in zip(*data, strict=True))
        Q = torch.linalg.qr(X.mT)[0]
        Z = X @ Q
        # The mean eigenvalue is over the span's dimensions here, not over the inputs'.
        strengths = [s * Q.shape[1] / Q.shape[0] for s in STRENGTHS]
        start = W0.double() @ Q.double()  # of W, what the samples see
        folds = [Moments.of(Z[k::_FOLDS], Y[k::_FOLDS]) for k in range(_FOLDS)]
        fit = ridge(
            [f for f in folds if f.n], start, intercept=self._intercept, strengths=strengths, give=give
        )
        return replace(fit, W=W0.double() + (fit.W - start) @ Q.double().mT)

    def write_(self, fits: Sequence[Fit]) -> None:
        """Put the fits into the layer and the BatchNorm behind it."""
        bias = self.weight.bias
        W, b, mean, variance = (
            torch.stack([getattr(f, part) for f in fits]) for part in ("W", "b", "mean", "variance")
        )
        length, norm = 1.0, None if self.site.norm is None else self.network.get_submodule(self.site.norm)
        if self.affine is not None and isinstance(norm, _BatchNorm):
            length = float(self.weight.matrices.double().norm() / W.norm().clamp_min(1e-300))
            length = length or 1.0  # a layer that was dead has no length to keep
            follow_(norm, self.affine, b.flatten(), mean.flatten(), variance.flatten(), length)
            if bias is not None:  # the norm's mean takes it out again
                self.weight.write_bias_(torch.zeros_like(bias))
        elif bias is not None:
            self.weight.write_bias_(b.flatten())
        self.weight.write_((length * W).to(self.weight.matrices.dtype))

    @property
    def _intercept(self) -> bool:
        return self.weight.bias is not None or self.affine is not None

    def _data(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield what the layer reads [samples, places, groups, fan_in], and what it should make of it."""
        name, layer = self.site.name, self.weight.module
        last = self.goals.runs(name) - 1
        for i, chunk in enumerate(self.chunks):
            read: dict[int, Tensor] = {}
            added: dict[int, Tensor] = {}

            def output(
                _: str, run: int, x: Tensor, y: Tensor, i: int = i, read: dict[int, Tensor] = read
            ) -> None:
                read[run] = read_at(x, layer, self.goals.where[name, run, i], y)
                if run == last and not self.site.sum:
                    raise Stop

            def other(_: str, run: int, t: Tensor, i: int = i, added: dict[int, Tensor] = added) -> None:
                added[run] = made_at(t, layer, self.goals.where[name, run, i])
                if run == last:
                    raise Stop

            watch(self.network, chunk, {name: layer}, Callbacks(output=output, other=other))
            for run, X in read.items():
                Y = self.goals.made[name, run, i]
                if run in added and (name, run, i) in self.goals.totals:
                    lacking = self.goals.totals[name, run, i] - added[run]
                    Y = lacking if self.affine is None else self.affine.undone(lacking, Y)
                yield X, Y.reshape(*X.shape[:3], -1)
