"""OSSCAR: layer by layer from the front, the inputs that go are those whose refit errs least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Generator, Tensor

from isoprune.methods.criteria.norms import l2_norm
from isoprune.methods.layers.readers import kept_units, weights_that_read
from isoprune.methods.layers.staged_search import StagedSearch
from isoprune.signals import Signals
from isoprune.types import Units, UpdatingScores
from isoprune.types.method import method


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
    search = StagedSearch(
        samples=samples,
        places=places,
        stages=stages,
        ridge=ridge,
        gigabytes=gigabytes,
        from_end=False,
        fisher=False,
        intercepts=False,
    )
    scores = search.scores(signals, units, keep, swaps=swaps, generator=generator)
    scores |= l2_norm(signals, [u for u in units if u.name not in scores], generator=generator)

    def update(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        kept = {u.name: kept_units(u, masks) for u in units}
        network = search.refit(signals, units, kept, generator=generator)
        return weights_that_read(network, [u for u in units if not bool(kept[u.name].all())], masks)

    return UpdatingScores({u.name: scores[u.name].reshape(u.shape) for u in units}, update)
