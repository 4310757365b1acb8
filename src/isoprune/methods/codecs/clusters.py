"""Weight sharing: the weights of a layer are a few numbers, each in many places, and these are trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from isoprune.methods.layers.weights import weights
from isoprune.pruning.mask import harden, masks_of
from isoprune.pruning.pruned import Pruned, as_pruned
from isoprune.types import IsopruneError
from isoprune.types.method import method
from isoprune.types.network import Network

MOST_BITS = 8


class Shared(nn.Module):
    """A weight whose elements are zero (index 0) or the shared number of their index, from 1.

    The shared numbers are what an optimizer trains: the gradient of each is the sum over its places.
    """

    index: Tensor

    def __init__(self, index: Tensor, numbers: Tensor, order: tuple[str, ...]) -> None:
        super().__init__()
        self.order = order  # of the module's parameters, for `harden`
        self.register_buffer("index", index)
        self._numbers: Tensor | None = numbers

    def forward(self, numbers: Tensor) -> Tensor:
        return torch.cat([numbers.new_zeros(1), numbers])[self.index.long()]

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the numbers that it was made with, once; then the mean of each number's places."""
        if self._numbers is not None:
            numbers, self._numbers = self._numbers, None
            return numbers
        flat, places = weight.flatten(), self.index.long().flatten()
        size = int(places.max()) + 1
        sums = torch.zeros(size, dtype=weight.dtype, device=weight.device).index_add(0, places, flat)
        return (sums / torch.bincount(places, minlength=size).clamp_min(1))[1:]


@method(
    "codec",
    grains=("filter", "kernel", "vector", "weight", "n:m", "block"),
    updates_weights=True,
    source="Han, Mao & Dally, ICLR 2016, arXiv 1510.00149",
)
def cluster(network: Network, *, conv_bits: int = 8, linear_bits: int = 5) -> Pruned:
    r"""Return the network with the weights of every layer shared: k-means, from equally spaced numbers.

    For each layer :math:`\min_{c, k} \sum_i (w_i - c_{k_i})^2` by Lloyd's steps. What is zero stays zero.
    `isoprune.retrain` then trains the shared numbers c (:math:`\partial L / \partial c_k = \sum_{i: k_i = k}
    \partial L / \partial w_i`), and `compress` writes them.

    Args:
        conv_bits, linear_bits: At most 2 to the power of it numbers a layer: of convolutions, of all others.

    Cost: a sort of every weight, and sums over it a step. Memory: an index of a byte a weight.

    Raises:
        IsopruneError: For bits outside 1 to 8; masks on biases or norms, as of channels: shrink them first.
    """
    for name, bits in (("conv_bits", conv_bits), ("linear_bits", linear_bits)):
        if not 1 <= bits <= MOST_BITS:
            raise IsopruneError(f"{name} is {bits}. Give 1 to {MOST_BITS}.")
    pruned = as_pruned(network)
    found = {weight.tensor for weight in weights(pruned.model)}
    if others := sorted(masks_of(pruned.model).keys() - found):
        raise IsopruneError(
            f"{others[0]} is masked and is no weight of a layer: whole channels are held at zero. Make them "
            "go first: isoprune.shrink(pruned)."
        )
    model = harden(pruned.model)
    orders = {weight.module: tuple(weight.module._parameters) for weight in weights(model)}
    for weight in weights(model):
        convolves = weight.parameter.dim() > 2
        index, numbers = shared(weight.parameter.detach(), 2 ** (conv_bits if convolves else linear_bits))
        order = orders[weight.module]
        parametrize.register_parametrization(weight.module, weight.key, Shared(index, numbers, order))
        weight.module.parametrizations.train(weight.module.training)  # pyright: ignore
    done = {"step": "cluster", "conv_bits": conv_bits, "linear_bits": linear_bits}
    return replace(pruned, model=model, history=(*pruned.history, done))


def shared(W: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return the index of every element, of its shape, and the shared numbers, ascending.

    Lloyd's k-means on what is not zero, begun at ``most`` numbers equally spaced from the smallest to the
    largest: the linear initialisation of Han et al., which keeps the few large weights apart.
    """
    values = W.double().cpu().flatten().numpy()
    nonzero = values != 0
    own = values[nonzero]
    distinct = np.unique(own)
    if len(distinct) <= most:
        numbers = distinct
        labels = np.searchsorted(numbers, own)
    else:
        from sklearn.cluster import KMeans

        start = np.linspace(own.min(), own.max(), most)[:, None]
        made = KMeans(most, init=start, n_init=1, max_iter=100, tol=0)  # pyright: ignore[reportArgumentType]
        made.fit(own[:, None])
        order = made.cluster_centers_[:, 0].argsort()
        numbers, labels = made.cluster_centers_[order, 0], order.argsort()[made.labels_]
    index = np.zeros(len(values), dtype=np.int16)
    index[nonzero] = labels + 1
    places = torch.from_numpy(index).reshape(W.shape).to(W.device)
    return places, torch.from_numpy(numbers.copy()).to(W)


def sharing(module: nn.Module, key: str) -> tuple[Tensor, Tensor] | None:
    """Return the indices and the shared numbers behind a module's weight; None if it shares none."""
    chain = getattr(module, "parametrizations", {})
    if key not in chain or not isinstance(chain[key][0], Shared):
        return None
    return chain[key][0].index, chain[key].original


def clustered(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Return where weights are shared, by the names that the tensors have in a plain network."""
    return {
        f"{name}.{key}".lstrip("."): (module, key)
        for name, module in model.named_modules()
        for key in getattr(module, "parametrizations", {})
        if sharing(module, key) is not None
    }
