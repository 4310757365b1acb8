"""Layers that are fitted one after the other: what each reads now, what it should make."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from isoprune.graph.cloning import clone_sharing
from isoprune.linalg.ridge import Fit, Moments, Sums, ridge
from isoprune.methods.layers.attention import ProjectionBlock, projections, taken_apart
from isoprune.methods.layers.finished_outputs import FinishedOutputs
from isoprune.methods.layers.kept_outputs import Kept, kept_outputs
from isoprune.methods.layers.norms import Affine
from isoprune.methods.layers.probe import Callbacks, Site, Stop, made_at, places, read_at, sites, watch
from isoprune.methods.layers.stored import is_plain
from isoprune.methods.layers.weights import Weight, every_weight, plain_weights, shared_with_tables
from isoprune.pruning.pruned import Pruned
from isoprune.signals.matrices import LAYERS
from isoprune.signals.modes import in_eval_mode
from isoprune.signals.samples import cut
from isoprune.types import IsopruneError
from isoprune.types.task import samples_in


@dataclass(frozen=True)
class FittedLayer:
    """One layer of the network under repair, and what is wanted of it."""

    site: Site
    weight: Weight
    network: nn.Module
    goals: Goals
    chunks: Sequence[Any]
    affine: Affine | None  # of the dense network's BatchNorm behind it
    finished: FinishedOutputs

    @property
    def intercept(self) -> bool:
        """Whether a constant can be added to what it makes: by a bias, or a BatchNorm behind it."""
        return self.weight.bias is not None or self.affine is not None

    @property
    def norm(self) -> _BatchNorm | None:
        """The BatchNorm behind it, in the network under repair."""
        norm = None if self.site.norm is None else self.network.get_submodule(self.site.norm)
        return norm if isinstance(norm, _BatchNorm) else None

    def data(self, *, sums: bool = True) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield what the layer reads [samples, places, groups, fan_in], and what it should make of it.

        With ``sums``, where its output goes into a sum, that is what the sum lacks as it is now.
        """
        name, layer = self.site.name, self.weight.module
        last = self.goals.runs(name) - 1
        for i, chunk in enumerate(self.chunks):
            read: dict[int, Tensor] = {}
            added: dict[int, Tensor] = {}

            def output(
                _: str, run: int, x: Tensor, y: Tensor, i: int = i, read: dict[int, Tensor] = read
            ) -> None:
                read[run] = read_at(x, layer, self.goals.where[name, run, i], y)
                if run == last and not (sums and self.site.sum):
                    raise Stop

            def other(_: str, run: int, t: Tensor, i: int = i, added: dict[int, Tensor] = added) -> None:
                added[run] = made_at(t, layer, self.goals.where[name, run, i])
                if run == last:
                    raise Stop

            with self.finished.running(layer, i):
                watch(self.network, chunk, {name: layer}, Callbacks(output=output, other=other))
            for run, X in read.items():
                Y = self.goals.made[name, run, i]
                if run in added and (name, run, i) in self.goals.totals:
                    lacking = self.goals.totals[name, run, i] - added[run]
                    Y = lacking if self.affine is None else self.affine.undone(lacking, Y)
                yield X, Y.reshape(*X.shape[:3], -1)

    def moments(
        self, data: Iterable[tuple[Tensor, Tensor]], *, folds: int = 1, parts: int = 1
    ) -> list[list[Moments]]:
        """Return per group the moments of every ``folds``-th sample; all folds from ``parts`` on are one."""
        sums = [[Sums() for _ in range(parts)] for _ in self.weight.matrices]
        for X, Y in data:
            for g, into in enumerate(sums):
                for k in range(folds):
                    into[min(k, parts - 1)].add(*(t[k::folds, :, g].flatten(0, 1) for t in (X, Y)))
        return [[m for one in into if (m := one.moments()) is not None] for into in sums]

    def fit_groups(self, moments: Sequence[Sequence[Moments]], **how: Any) -> list[Fit]:
        """Return the fit of every group, near to the weights as they are: see `ridge`."""
        W0, masks, free = self.weight.matrices, self.weight.masks, self.intercept
        return [ridge(m, W0[g], intercept=free, mask=masks[g], **how) for g, m in enumerate(moments)]


def together(fits: Sequence[Fit]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return W [groups, filters, fan_in], and of all groups' filters b, mean and variance."""
    b, mean, variance = (torch.cat([getattr(f, part) for f in fits]) for part in ("b", "mean", "variance"))
    return torch.stack([f.W for f in fits]), b, mean, variance


@contextmanager
def fitted_layers(
    repaired: nn.Module,
    pruned: Pruned,
    chunks: Sequence[Any],
    *,
    places: int,
    generator: Generator,
    memory: int,
    log: logging.Logger,
) -> Iterator[list[FittedLayer]]:
    """Yield the layers of ``repaired`` that can be fitted, in the order in which they run.

    Attentions are taken apart meanwhile; one whose forward is not torch's own, layers that are tied to an
    embedding, and those whose weight something else computes, are left out. What is yielded is used in this
    order: a layer's data are of the network as it is by then.

    Args:
        repaired: A network of the pruned one's shape.
        places, memory: See `goals`; a quarter of it, if left, holds what finished layers made.
        log: Is told which layers stay as they are.

    Raises:
        IsopruneError: If dense network and plan do not belong to the pruned network; beyond memory.
    """
    example, dense = cut(chunks[0], 0, 1), clone_sharing(pruned.dense)
    stored_weights = plain_weights(repaired)
    _tell_computed(repaired, log)
    kept, factors = kept_outputs(dense, stored_weights, pruned, example)
    with in_eval_mode(repaired, dense), taken_apart(repaired) as parts, taken_apart(dense) as whole:
        shared = shared_with_tables(repaired)
        free = [w for w in stored_weights if id(w.parameter) not in shared]
        found = {w.name: w for w in free if isinstance(w.module, LAYERS)}
        found |= {w.name: w for w in projections(stored_weights, parts)}
        kept |= {name: kept[part.weight].part(part) for name, part in parts.items() if name in found}
        _tell_whole(stored_weights, parts, log)
        originals = {
            name: whole[name].projection if name in parts else dense.get_submodule(name) for name in found
        }
        order = sites(dense, example, originals)
        for site in order:
            factor = factors.get(f"{site.norm}.weight")
            if factor is not None:
                kept[site.name] = replace(kept[site.name], norm=factor)
        wanted = goals(dense, originals, kept, chunks, most=places, generator=generator, memory=memory)
        layers = {site.name: found[site.name].module for site in order}
        spare = min(memory - wanted.nbytes, memory // 4)
        finished = FinishedOutputs(repaired, layers, len(chunks), spare)
        with finished.on():
            yield [
                FittedLayer(
                    site,
                    found[site.name],
                    repaired,
                    wanted,
                    chunks,
                    _affine(dense, site, kept[site.name]),
                    finished,
                )
                for site in order
            ]


def _tell_computed(repaired: nn.Module, log: logging.Logger) -> None:
    for weight in every_weight(repaired):
        if not is_plain(weight.module, weight.key):
            log.info("%s: stays as it is, since its weight is computed from others", weight.name)


def _tell_whole(
    stored_weights: Sequence[Weight], parts: Mapping[str, ProjectionBlock], log: logging.Logger
) -> None:
    fitted = {part.weight for part in parts.values()}
    for weight in stored_weights:
        if isinstance(weight.module, nn.MultiheadAttention) and weight.name not in fitted:
            kind = type(weight.module).__name__
            log.info("%s: stays as it is, since %s has a forward of its own", weight.name, kind)


def _affine(dense: nn.Module, site: Site, kept: Kept) -> Affine | None:
    norm = None if site.norm is None else dense.get_submodule(site.norm)
    affine = Affine.of(norm, kept.rows) if isinstance(norm, _BatchNorm) else None
    return None if affine is None else Affine(affine.scale * kept.norm, affine.shift * kept.norm)


Key = tuple[str, int, int]  # layer, how often it has run before, chunk of inputs


@dataclass(frozen=True)
class Goals:
    """Per layer, run and chunk: sampled places [samples, places], and there, in the channels that are kept,

    the layer's outputs ``made`` and the sums ``totals`` that they go into, [samples, places, channels].
    """

    where: Mapping[Key, Tensor]
    made: Mapping[Key, Tensor]
    totals: Mapping[Key, Tensor]

    @property
    def nbytes(self) -> int:
        """Return what all of it takes in memory."""
        return sum(t.nbytes for part in (self.where, self.made, self.totals) for t in part.values())

    def runs(self, layer: str) -> int:
        """Return how often the layer runs in a forward."""
        return 1 + max(run for name, run, _ in self.where if name == layer)


def goals(
    dense: nn.Module,
    layers: Mapping[str, nn.Module],
    kept: Mapping[str, Kept],
    chunks: Sequence[Any],
    *,
    most: int,
    generator: Generator,
    memory: int,
) -> Goals:
    """Return the goals of the dense network's ``layers``: one forward of all ``chunks``.

    Args:
        kept: Per layer, the outputs that are left.
        most: Places a sample.
        memory: Bound in bytes on what is returned.

    Raises:
        IsopruneError: If that is more than ``memory``, after the first chunk.
    """
    where: dict[Key, Tensor] = {}
    made: dict[Key, Tensor] = {}
    totals: dict[Key, Tensor] = {}
    for i, chunk in enumerate(chunks):

        def output(name: str, run: int, _: Tensor, y: Tensor, i: int = i) -> None:
            there = places(y, layers[name], most, generator)
            where[name, run, i] = there
            made[name, run, i] = kept[name].of(made_at(y, layers[name], there))

        def total(name: str, run: int, t: Tensor, i: int = i) -> None:
            left = kept[name].of(made_at(t, layers[name], where[name, run, i]))
            totals[name, run, i] = left * kept[name].norm.to(left)

        watch(dense, chunk, layers, Callbacks(output=output, total=total))
        if i == 0:
            _require_memory([*where.values(), *made.values(), *totals.values()], chunks, memory)
    return Goals(where, made, totals)


def _require_memory(first: Sequence[Tensor], chunks: Sequence[Any], memory: int) -> None:
    samples = sum(map(samples_in, chunks))
    need = sum(t.nbytes for t in first) * samples // samples_in(chunks[0])
    if need > memory:
        raise IsopruneError(
            f"What the dense network's layers make of {samples} samples takes {need:,} bytes; memory = "
            f"{memory:,}. Lower samples or places, or raise memory."
        )
