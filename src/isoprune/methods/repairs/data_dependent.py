"""Data-dependent initialisation on the kept weights (Krähenbühl et al., 2016)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from isoprune.graph.cloning import copied
from isoprune.methods.repairs.change_rates import equalise_
from isoprune.methods.repairs.data_filters import cluster_filters, principal_filters
from isoprune.methods.repairs.passes import Reached, sweep_
from isoprune.methods.repairs.patches import patches
from isoprune.methods.repairs.weights import weights
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method
from isoprune.types.units import DEPTH, GRAINS

_PATCHES = 20  # looked at for each filter and each of its weights that a start estimates
_CONSTANT = 1e-6  # a channel that varies by less than this part of its size does not vary

_Filters = Callable[..., Tensor]


@method("repair", "data", grains=(*GRAINS, DEPTH), source="Krähenbühl et al., 2016")
def data_dependent(
    pruned: Pruned,
    signals: Signals,
    *,
    generator: Generator,
    start: Literal["kept", "pca", "kmeans"] = "kept",
    samples: int = 256,
    between: bool = True,
    sweeps: int = 20,
) -> nn.Module:
    r"""Return a copy where every channel has mean 0 and variance 1 on data, and layers change at one rate.

    Within layers, in the order in which they run: filter i is divided by its output's standard deviation
    :math:`\sigma_i` over samples and positions, its bias becomes :math:`(b_i - \mu_i) / \sigma_i`. Without a
    bias the filter is scaled only. A channel that does not vary keeps its weights. BatchNorm statistics are
    taken anew from what each BatchNorm reads, so what comes out of one is what the `batchnorm` repair gives:
    of a layer in front of one this step changes the weights' norms, which are an effective learning rate.

    Between layers, one factor a layer equalises the rates at which weights change under a random loss
    (`change_rates.equalise_`). In a chain of ReLU, pooling and the like, the network's function stays;
    channels keep mean 0, their variance becomes one number a layer.

    Filters (with their start) keep their directions in "kept"; masks are kept.

    Args:
        start: "kept"; "pca", principal components of what the layer reads; "kmeans", centres of its clusters
            after whitening. Both throw the kept weights away, but those of attentions and transposed
            convolutions.
        samples: How many inputs are looked at, all at once.
        between: Whether the second step is taken.
        sweeps: Its corrections at most.

    Cost: two forwards of ``samples`` inputs, and in each correction four and a backward. Memory: a copy of
    the network; what one layer reads and makes of all ``samples``, in float64; the graph of a 32nd of them,
    and two gradients of the weights.

    Source: Krähenbühl, Doersch, Donahue & Darrell, "Data-dependent initializations of convolutional neural
    networks", 2016, algorithms 1 and 2.

    Raises:
        IsopruneError: Without data; if a weight is parametrised; if an output on the data
            is NaN or infinity; if k-means has fewer different inputs than filters.
    """
    inputs = signals.inputs(samples)
    weights(pruned.model)  # what cannot be repaired is refused before anything is copied
    repaired = copied(pruned.model)
    made = {"kept": None, "pca": principal_filters, "kmeans": cluster_filters}[start]

    def visit(at: Reached) -> None:
        if made is not None:
            _start_(at, made, generator=generator)
        _normalise_(at)

    sweep_(repaired, inputs, visit, settle=True)
    if between:
        equalise_(repaired, inputs, sweeps, generator=generator)
    return repaired


def _start_(at: Reached, made: _Filters, *, generator: Generator) -> None:
    W = at.layer.weight.matrices
    most = _PATCHES * max(W.shape[1:])
    read = patches(at.layer.module, at.read, most, generator=generator)
    if read is None:
        return
    try:
        new = [made(rows.to(W), W.shape[1], generator=generator) for rows in read]
    except IsopruneError as error:
        raise IsopruneError(f"{at.layer.name}: {error}") from None
    at.layer.weight.write_(torch.stack(new))


def _normalise_(at: Reached) -> None:
    variance, mean = torch.var_mean(at.made(), dim=0, correction=0)
    varies = variance > _CONSTANT**2 * mean.square()
    factor = torch.where(varies, variance.rsqrt(), 1.0)
    bias = at.layer.weight.bias
    if bias is not None:
        at.layer.weight.write_bias_(bias - mean.to(bias))
    at.layer.scale_(factor, bias=factor)
