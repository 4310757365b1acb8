"""Optimal brain surgery of single weights under Kronecker factors, added up over units."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from isoprune.methods.criteria.kronecker import kronecker_scores
from isoprune.methods.criteria.layer_moments import LayerMoments
from isoprune.methods.criteria.unit_scores import unit_sums
from isoprune.signals import Signals
from isoprune.types import Units, UpdatingScores
from isoprune.types.method import method
from isoprune.types.units import GRAINS


@method(
    "criterion",
    "data",
    "gradients",
    grains=GRAINS,
    updates_weights=True,
    comparable=True,
    label="C-OBS",
    source="Wang, Grosse, Fidler & Zhang, ICML 2019, arXiv 1905.05934",
)
def c_obs(
    signals: Signals,
    units: Sequence[Units],
    *,
    generator: Generator,
    samples: int = 256,
    places: int = 64,
    damping: float = 1e-5,
    steps: int = 30,
    gigabytes: float = 4.0,
) -> UpdatingScores:
    r"""Rise of the loss without each weight, the others moved, added up over each unit.

    :math:`\frac{1}{2} \sum w_{ij}^2 / ([G^{-1}]_{ii} [A^{-1}]_{jj})`, with the Fisher matrix of a layer
    taken as :math:`G \otimes A`: A of what its filters read, G of the slopes by what they make, under
    labels that the network draws itself. The weights that stay become those with the least
    :math:`\mathrm{tr}\, D A D^\top G` where the others are zero, for all that go together, in closed form
    where whole filters and inputs go and by conjugate gradients elsewhere (in the paper each is made up for
    by itself, :math:`-G^{-1} C A^{-1}` with :math:`C_{ij} = w_{ij} / ([G^{-1}]_{ii} [A^{-1}]_{jj})`).
    Channels are made up for where they are read; those that several layers make get the mean over these. A
    tensor without factors (a table, a recurrent layer) is taken with the diagonal of its Fisher matrix, and
    gets no update.

    Args:
        samples, places: How many samples are looked at, and positions of a map or sequence in each.
        damping: Added to the Fisher matrix, by a part of its root in either factor.
        steps: Of conjugate gradients, at most; each lowers that number.
        gigabytes: What the factors may take; more is refused before anything is computed.

    Cost: a forward and a backward of the samples; an inverse of each factor; a product of each filter
    matrix with both factors a step. Memory: A, G and their inverses, in float64.
    """
    how = {"samples": samples, "places": places, "damping": damping, "gigabytes": gigabytes}
    return kronecker_scores(signals, units, _value, generator=generator, steps=steps, **how)


def _value(moments: LayerMoments, units: Tensor, size: int) -> Tensor:
    a, g = (
        torch.cholesky_inverse(torch.linalg.cholesky(t)).diagonal(dim1=1, dim2=2)
        for t in (moments.inputs, moments.outputs)
    )
    return unit_sums(moments.matrices.square() / (g[:, :, None] * a[:, None, :]), units, size)[0]
