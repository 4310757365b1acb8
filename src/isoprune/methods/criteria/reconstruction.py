"""What is missed least once the layers that read it are refit: a choice that brings its repair."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial

from torch import Generator, Tensor

from isoprune.methods.criteria.norms import l2_norm
from isoprune.methods.layers.attention import taken_apart
from isoprune.methods.layers.output_errors import watched_sums
from isoprune.methods.layers.pruned_so_far import PrunedSoFar, hull_slopes, ranks, stages_of, with_readers
from isoprune.methods.layers.readers import reading_layers
from isoprune.methods.layers.working_copy import working_copy
from isoprune.signals import Signals
from isoprune.signals.cost import forward_work
from isoprune.types import Scores, Units
from isoprune.types.method import method
from isoprune.types.task import samples_in

STAGES = 16
_log = logging.getLogger(__name__)


@method(
    "criterion",
    "data",
    "gradients",
    grains=("channel", "head"),
    updates_weights=True,
    repair="refit",
    source="Hassibi & Stork, 1993; Luo, Wu & Lin, 2017",
)
def reconstruction(
    signals: Signals,
    units: Sequence[Units],
    *,
    generator: Generator,
    keep: Mapping[str, int] | None = None,
    samples: int = 2048,
    places: int = 16,
    stages: int | None = None,
    ridge: float = 1e-6,
    swaps: int | None = None,
    gigabytes: float = 12.0,
) -> Scores:
    r"""Elimination: one after the other that unit goes that is missed least once its readers are refit.

    A layer reads x and makes W x. Without the inputs S its best other weights change its outputs by

    .. math:: \mathrm{tr}\, F\, W_S \left([G^{-1}]_{SS}\right)^{-1} W_S^\top, \qquad G = E[x x^\top]

    (the loss of optimal brain surgery, for all outputs of a layer at once), which is added up over all layers
    that read the unit: what a residual sum feeds, each head or group on its own. F is the Fisher matrix of
    what the layer makes, so errors count by what they do to the network's outputs; no label is read. G and F
    are gathered in float64, and the inverse of G is kept by exact downdates.

    Without ``keep`` a score is the rise of the error (in nats, for a classification) when that unit goes
    after all that are missed less, made convex: ``allocation="error"`` lets layers compete by it.
    With ``keep``, which `isoprune.prune` gives, groups are chosen from the last one back, each by the slopes
    of the network whose end has been pruned and refit, and swaps follow; scores then are ranks. The choice is
    made for layers that are refit: `isoprune.prune` ends with `refit`, and without that
    it is worse than the smallest weights.

    Units that only products read (queries and keys), or layers that cannot be refit (recurrent ones), are
    scored by the norm of their weights; the log names them.

    Args:
        keep: How many of which units are to stay.
        samples: How many inputs are looked at.
        places: Positions of an output map (or of a sequence) that are looked at, drawn for each sample; more
            where there would be less than four rows for each input of a layer.
        stages: Passes over the data at most: so many parts of the network are chosen one after the other.
            None: 16, or fewer where their forwards would take more than 3e12 multiply-adds in all.
        ridge: Added to G, relative to its mean eigenvalue.
        swaps: At most so many a group; None: as many as units stay, and none where a reader has more than
            1,024 inputs.
        gigabytes: What the moments of what the layers of one part read and make may take; more is refused
            before anything is computed.

    Cost: a forward and a backward of the samples a stage; per group and reader, for each unit that goes, a
    product of [fan_in, fan_in] with the unit's inputs. Memory: three times [fan_in, fan_in] and [filters,
    filters] of every layer of one stage in float64, up to ``gigabytes``.

    Sources: Hassibi & Stork, 1993 (refit of what is left); Luo, Wu & Lin, 2017 (ThiNet: choice by the
    reader's error).
    """
    network, example, chunks = working_copy(signals, samples)
    scores: dict[str, Tensor] = {}
    with taken_apart(network) as parts:
        layers = reading_layers(network, parts, units, example)
        last = {
            u.name: max((i for i, x in enumerate(layers) if u.name in x.inputs), default=-1) for u in units
        }
        order = sorted((u for u in units if last[u.name] >= 0), key=lambda u: -last[u.name])
        if keep is not None:
            order = [u for u in order if keep.get(u.name, u.size) < u.size]
        end = PrunedSoFar.nothing(layers, fisher=True, ridge=ridge)
        work = forward_work(signals) * sum(map(samples_in, chunks))
        chosen = stages_of(order, 1 if keep is None else stages, work, most=STAGES)
        for group, mine in with_readers(chosen, layers, gigabytes):
            look = partial(watched_sums, most=places, generator=generator)
            sums = look(network, mine, end.offsets, chunks, signals.task)
            for u in group:
                read = [x for x in mine if u.name in x.inputs]
                if keep is None:  # an order of going, which swaps would tear
                    found = end.eliminate_(u, read, sums, 1, swaps=0, refit=False)
                    scores[u.name] = hull_slopes(found)
                else:
                    found = end.eliminate_(u, read, sums, keep[u.name], swaps=swaps, refit=True)
                    scores[u.name] = ranks(found)
    for u in units:
        if u.name not in scores:
            if last[u.name] < 0:
                _log.info("%s: no layer that can be refit reads it; scored by its weights", u.name)
            scores |= l2_norm(signals, [u], generator=generator)
    return scores
