"""What is missed least once the layers that read it are refit: a choice that brings its repair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Generator

from isoprune.methods.criteria.norms import l2_norm
from isoprune.methods.layers.staged_search import StagedSearch
from isoprune.signals import Signals
from isoprune.types import Scores, Units
from isoprune.types.method import method

STAGES = 16


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
    search = StagedSearch(
        samples=samples,
        places=places,
        stages=stages,
        most=STAGES,
        ridge=ridge,
        gigabytes=gigabytes,
        from_end=True,
        fisher=True,
        intercepts=True,
    )
    scores = search.scores(signals, units, keep, swaps=swaps, generator=generator)
    scores |= l2_norm(signals, [u for u in units if u.name not in scores], generator=generator)
    return scores
