"""OSSCAR: layer by layer from the front, the inputs that go are those whose refit errs least."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from torch import Generator, Tensor, nn

from isoprune.methods.criteria.norms import l2_norm
from isoprune.methods.layers.attention import taken_apart
from isoprune.methods.layers.output_errors import ErrorSums, watched_sums
from isoprune.methods.layers.pruned_so_far import PrunedSoFar, hull_slopes, ranks, stages_of, with_readers
from isoprune.methods.layers.readers import ReadingLayer, kept_units, reading_layers, weights_that_read
from isoprune.methods.layers.working_copy import working_copy
from isoprune.signals import Signals
from isoprune.signals.cost import forward_work
from isoprune.types import Units, UpdatingScores
from isoprune.types.method import method
from isoprune.types.task import samples_in

_log = logging.getLogger(__name__)

# What is done with one group of units: the layers that read it and their sums, on the network so far.
Visit = Callable[[PrunedSoFar, Units, Sequence[ReadingLayer], Mapping[str, ErrorSums]], None]


@method(
    "criterion",
    "data",
    grains=("channel", "head"),
    updates_weights=True,
    label="OSSCAR",
    source="Meng et al., ICML 2024, arXiv 2403.12983",
)
def osscar(
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
) -> UpdatingScores:
    r"""Search for the inputs without which :math:`\min_{\hat W} \|X W - X \hat W\|^2` is least.

    X is what a layer reads in the network as pruned so far, from the front to the end, W its weights, and
    :math:`\hat W` is zero at all inputs of the units that go. Units go one after the other, always the one
    that is missed least once all else is refit; then pairs are swapped as long as that lowers the error.
    Both by low-rank updates of :math:`(X^\top X)^{-1}`. The weights that stay are the refit ones; biases
    and BatchNorm statistics stay (`batchnorm` can follow). Units that several layers read (a residual sum)
    go by the sum of the errors.

    Of the paper this is the problem, the elimination, the local search and the refit, on sampled places of
    convolutions. It exchanges several units at a time in its search, for layers of thousands of inputs; here
    it is one. With ``keep``, which `isoprune.prune` gives, scores are ranks; without it they are the rises of
    the error in the order of going, on the network as it is. Against `reconstruction`: no Fisher weights, no
    pass back from the last layer, no shift of biases, no fit to what passes a ReLU.

    No label is read. Units that no layer reads which can be refit are scored by the norm of their weights.

    Args:
        keep: How many of which units are to stay.
        samples: How many inputs are looked at.
        places: Positions of an output map (or of a sequence), drawn for each sample; more where there would
            be less than four rows for each input of a layer.
        stages: Passes over the data at most; groups of one pass are chosen on the same network. None: one a
            group, or fewer where their forwards would take more than 3e12 multiply-adds in all.
        ridge: Added to X^T X, relative to its mean eigenvalue.
        swaps: At most so many a group; None: as many as units stay, and none where a reader has more than
            1,024 inputs.
        gigabytes: What the moments of what the layers of one stage read and make may take; more is refused
            before anything is computed.

    Cost: two forwards of the samples a stage; per group and reader, for each unit that goes, a product of
    [fan_in, fan_in] with the unit's inputs. Memory: three times [fan_in, fan_in] and [filters, filters] of
    every layer of one stage in float64, up to ``gigabytes``.
    """
    scores: dict[str, Tensor] = {}

    def choose(
        so_far: PrunedSoFar, u: Units, read: Sequence[ReadingLayer], sums: Mapping[str, ErrorSums]
    ) -> None:
        if keep is None:  # an order of going, which swaps would tear
            found = so_far.eliminate_(u, read, sums, 1, swaps=0, refit=False)
            scores[u.name] = hull_slopes(found)
        else:
            found = so_far.eliminate_(u, read, sums, keep[u.name], swaps=swaps, refit=True)
            scores[u.name] = ranks(found)

    how = {
        "samples": samples,
        "places": places,
        "ridge": ridge,
        "gigabytes": gigabytes,
        "generator": generator,
    }
    wanted = [u for u in units if keep is None or keep.get(u.name, u.size) < u.size]
    _from_the_front(signals, units, wanted, choose, stages=1 if keep is None else stages, **how)
    for u in wanted:
        if u.name not in scores:
            _log.info("%s: no layer that can be refit reads it; scored by its weights", u.name)
    scores |= l2_norm(signals, [u for u in units if u.name not in scores], generator=generator)

    def update(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        kept = {u.name: kept_units(u, masks) for u in units}
        going = [u for u in units if not bool(kept[u.name].all())]

        def refit(
            so_far: PrunedSoFar, u: Units, read: Sequence[ReadingLayer], sums: Mapping[str, ErrorSums]
        ) -> None:
            so_far.keep_(u, read, sums, kept[u.name])

        network = _from_the_front(signals, units, going, refit, stages=stages, **how)
        return weights_that_read(network, going, masks)

    return UpdatingScores({u.name: scores[u.name].reshape(u.shape) for u in units}, update)


def _from_the_front(
    signals: Signals,
    units: Sequence[Units],
    wanted: Sequence[Units],
    visit: Visit,
    *,
    stages: int | None,
    samples: int,
    places: int,
    ridge: float,
    gigabytes: float,
    generator: Generator,
) -> nn.Module:
    """Visit the units that are ``wanted`` in the order in which they are read, and return what came of it."""
    network, example, chunks = working_copy(signals, samples)
    with taken_apart(network) as parts:
        layers = [replace(x, intercept=False) for x in reading_layers(network, parts, units, example)]
        first = {name: i for i, x in reversed(list(enumerate(layers))) for name in x.inputs}
        order = sorted((u for u in wanted if u.name in first), key=lambda u: first[u.name])
        so_far = PrunedSoFar.nothing(layers, fisher=False, ridge=ridge)
        work = forward_work(signals) * sum(map(samples_in, chunks))
        look = partial(watched_sums, most=places, generator=generator, slopes=False)
        for group, mine in with_readers(stages_of(order, stages, work), layers, gigabytes):
            sums = look(network, mine, so_far.offsets, chunks, signals.task)
            for u in group:
                visit(so_far, u, [x for x in mine if u.name in x.inputs], sums)
    return network
