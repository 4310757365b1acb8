"""Data-dependent initialisation on the kept weights (Krähenbühl et al., 2016)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from isoprune.graph.cloning import copied
from isoprune.graph.outputs import tensors_in
from isoprune.linalg import haar_matrix
from isoprune.methods.layers.passes import LinearLayer, Reached, layers_with_output, scale_layers_, sweep_
from isoprune.methods.layers.patches import patches
from isoprune.methods.layers.stored import differentiable
from isoprune.methods.layers.weights import weights
from isoprune.pruning.pruned import Pruned
from isoprune.signals.modes import in_eval_mode
from isoprune.signals.samples import cut
from isoprune.signals.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method
from isoprune.types.task import forward, samples_in
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


_PARTS = 32  # of the samples: within one, gradients are summed before they are squared
_DAMPING = 0.5  # of the paper's correction; one is exact on a chain and may swing elsewhere
_CLOSE = 0.02  # of the rates' logarithms


def equalise_(model: nn.Module, inputs: Any, sweeps: int, *, generator: Generator) -> None:
    r"""Scale layers until all have one change rate; the factors' product is one.

    A layer's rate is :math:`C = \mathrm{mean}_j \sqrt{\mathrm{mean}_i E[(\partial \ell / \partial
    W_{ij})^2]} / \|W\|`, with i over filters and j over what they read, under the loss :math:`\ell = \eta
    \cdot y`, :math:`\eta` normal, of the network's output y. Scaling a layer by s, and the others so that
    signals behind stay, divides its rate by :math:`s^2`: so layer l gets :math:`(C_l / \bar C)^{a / 2}`, with
    the geometric mean over layers and a damping a of 1/2, again and again. Biases grow with the signal.

    BatchNorm statistics are taken anew. A layer without gradient stays out.
    """
    with in_eval_mode(model):
        layers = {layer.name: layer for layer in layers_with_output(model)}
        noise = _noise(model, inputs, generator)
        for _ in range(sweeps):
            rates = change_rates(model, inputs, layers, noise)
            logs = {name: math.log(rate) for name, rate in rates.items() if rate > 0}
            if not logs:
                return
            mean = sum(logs.values()) / len(logs)
            if max(abs(log - mean) for log in logs.values()) < _CLOSE:
                return
            factors = {name: math.exp(_DAMPING / 2 * (log - mean)) for name, log in logs.items()}
            scale_layers_(model, inputs, factors, biases=True, settle=True)


def change_rates(
    model: nn.Module, inputs: Any, layers: dict[str, LinearLayer], noise: Tensor
) -> dict[str, float]:
    """Return the change rate of each layer, 0 without gradient; ``noise`` is that of the loss.

    Gradients of a few samples are summed and then squared: with noise of mean 0 that is independent between
    samples, the expectation is that of the sum of squares.
    """
    stored = {name: layer.weight.parameter for name, layer in layers.items()}
    sums = {name: torch.zeros_like(layer.weight.matrices) for name, layer in layers.items()}
    with differentiable(*stored.values()):
        part = math.ceil(len(noise) / _PARTS)
        for start in range(0, len(noise), part):
            stop = min(start + part, len(noise))
            loss = (_output(model, cut(inputs, start, stop)) * noise[start:stop]).sum()
            grads = torch.autograd.grad(loss, list(stored.values()), allow_unused=True)
            for (name, layer), grad in zip(layers.items(), grads, strict=True):
                if grad is not None:
                    sums[name] += layer.weight.arranged(grad).to(sums[name]).square()
    rates = {}
    for name, layer in layers.items():
        size = float(layer.weight.matrices.norm())
        column = (sums[name] / len(noise)).mean(1).sqrt().mean()
        rates[name] = float(column) / size if size > 0 else 0.0
    return rates


def _noise(model: nn.Module, inputs: Any, generator: Generator) -> Tensor:
    with torch.no_grad():
        y = _output(model, cut(inputs, 0, 1))
    shape = (samples_in(inputs), *y.shape[1:])
    return torch.randn(shape, generator=generator, device=generator.device).to(y)


def _output(model: nn.Module, x: Any) -> Tensor:
    first = next(tensors_in(forward(model, x)), None)
    if first is None:
        raise IsopruneError(f"{type(model).__name__} gives no tensor of floats, so there is no loss on it.")
    return first


_RTOL = 1e-6  # of a standard deviation, relative to the largest: less is rounding
# Added to each variance, of their mean: whitened in full, directions of next to no variance, known from few
# samples or from rounding, would make clusters and fill the filters.
_SOFT = 0.01


def principal_filters(rows: Tensor, filters: int, *, generator: Generator) -> Tensor:
    """Return principal components of the rows [points, fan_in] as filters, strongest first.

    Where more are asked for than there are, the rest are random mixtures of whitened components, so that
    all directions of the data count about alike.
    """
    components = _whitening(rows)
    if filters <= len(components):
        return components[:filters]
    more = filters - len(components)
    mix = haar_matrix(more, len(components), generator=generator).to(rows)
    return torch.cat([components, torch.nn.functional.normalize(mix, dim=1) @ components])


def cluster_filters(rows: Tensor, filters: int, *, generator: Generator) -> Tensor:
    """Return the centres of k-means on the whitened rows [points, fan_in], as filters on the rows.

    Raises:
        IsopruneError: If there are fewer different rows than filters.
    """
    from sklearn.cluster import KMeans  # a second to import, and this start alone needs it

    components = _whitening(rows)
    white = (rows - rows.mean(0)) @ components.mT
    different = len(white.unique(dim=0))
    if different < filters:
        raise IsopruneError(
            f"k-means finds {filters} filters among as many different inputs at least, and the layer reads "
            f'{different}. Pass more samples, or take start = "pca".'
        )
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    kmeans = KMeans(filters, n_init=1, random_state=seed)  # pyright: ignore[reportArgumentType]
    found = kmeans.fit(white.double().cpu().numpy())
    return torch.from_numpy(found.cluster_centers_).to(rows) @ components


def _whitening(rows: Tensor) -> Tensor:
    """Return the principal directions over their standard deviations, softened, [rank, fan_in]."""
    centred = (rows - rows.mean(0)).double()
    values, vectors = torch.linalg.eigh(centred.mT @ centred / len(rows))
    values, vectors = values.flip(0), vectors.flip(1)
    there = values > (_RTOL**2) * values[0]
    if not bool(there.any()):  # the layer reads the same everywhere: nothing to look for
        return torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    return (vectors[:, there] / (values[there] + _SOFT * values.mean()).sqrt()).mT.to(rows)
