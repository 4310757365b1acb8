r"""Norms over what a weight reads: weight norm and spectral norm of torch keep the norm that they had.

A filter that loses inputs has another norm, so :math:`g v / \|v\|` and :math:`W / \sigma(W)` would change in
all that is left. Weight norm has a length g to make up for it. Spectral norm has, in eval mode, the vectors
of its last power iteration, :math:`\sigma = u^\top W v`: v takes the factor until training finds it anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from isoprune.graph import Graph
from isoprune.graph.cloning import named_modules, tensor_names
from isoprune.graph.labels import restrict
from isoprune.graph.recording import Node
from isoprune.types import IsopruneError

Named = Mapping[str, Tensor]


@dataclass(frozen=True)
class WeightLength:
    """Weight norm: a filter is ``length`` times ``weight`` over its norm along all dimensions but ``dim``."""

    weight: str
    length: str
    dim: int

    @property
    def tensors(self) -> frozenset[str]:
        return frozenset((self.weight, self.length))

    def factors(self, whole: Named, small: Named, graph: Graph, kept: Tensor) -> dict[str, Tensor]:
        """Return what shrinking multiplies the lengths by, so that the weights that are left stay."""
        norm, left = (torch.norm_except_dim(_exact(t[self.weight]), 2, self.dim) for t in (whole, small))
        before = restrict(norm, graph.tensors[self.length][0], kept)
        return {self.length: _quotient(left, before)}


@dataclass(frozen=True)
class Spectral:
    """Spectral norm: ``weight`` as a matrix, filters along ``dim`` first, over u^T W v."""

    weight: str
    left: str
    right: str
    dim: int

    @property
    def tensors(self) -> frozenset[str]:
        return frozenset((self.weight, self.left, self.right))

    def factors(self, whole: Named, small: Named, _graph: Graph, _kept: Tensor) -> dict[str, Tensor]:
        return {self.right: _quotient(self.sigma(whole), self.sigma(small))}

    def sigma(self, tensors: Named) -> Tensor:
        matrix = _exact(tensors[self.weight]).movedim(self.dim, 0).flatten(1)
        return _exact(tensors[self.left]) @ (matrix @ _exact(tensors[self.right]))


Norm = WeightLength | Spectral


def _exact(tensor: Tensor) -> Tensor:
    """Return a tensor in float64: a norm of thousands of weights is off by many roundings in its own type."""
    return tensor.detach().double()


def _quotient(above: Tensor, below: Tensor) -> Tensor:
    """Return the quotient, one where nothing is left of a norm: no factor brings it back."""
    return torch.where((above != 0) & (below != 0), above / below, torch.ones_like(above))


def weight_norms(model: nn.Module, graph: Graph) -> tuple[Norm, ...]:
    """Return torch's weight and spectral norms, of hooks and of parametrizations, that took part."""
    names = {key: name for key, (name, _) in tensor_names(model).items()}
    found = [norm for _, module in named_modules(model) for norm in _of_module(module, names)]
    return tuple(norm for norm in found if norm.tensors <= set(graph.tensors))


def _of_module(module: nn.Module, names: Mapping[int, str]) -> Iterator[Norm]:
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            parts = [getattr(module, hook.name + end) for end in ("_v", "_g")]
            yield WeightLength(*(names[id(t)] for t in parts), dim=hook.dim)
        elif isinstance(hook, SpectralNorm):
            parts = [getattr(module, hook.name + end) for end in ("_orig", "_u", "_v")]
            yield Spectral(*(names[id(t)] for t in parts), dim=hook.dim)
    if not is_parametrized(module):
        return
    for chain in module.get_submodule("parametrizations").children():
        assert isinstance(chain, ParametrizationList)
        step = chain[0]
        stored = dict(chain.named_parameters(recurse=False))
        if len(chain) == 1 and isinstance(step, parametrizations._WeightNorm):
            yield WeightLength(names[id(stored["original1"])], names[id(stored["original0"])], dim=step.dim)
        elif len(chain) == 1 and isinstance(step, parametrizations._SpectralNorm) and hasattr(step, "_u"):
            parts = (stored["original"], step._u, step._v)
            yield Spectral(*(names[id(t)] for t in parts), dim=step.dim)


def keep_norms(
    norms: Sequence[Norm], graph: Graph, kept: Tensor, whole: Named, small: dict[str, Tensor]
) -> None:
    """Multiply, among the tensors that are left (``small``), what makes up for norms that lost channels."""
    for norm in norms:
        for name, factor in norm.factors(whole, small, graph, kept).items():
            small[name] = small[name] * factor.to(small[name])


def refuse_normed(model: nn.Module, graph: Graph, names: Iterable[str]) -> None:
    """Refuse to hold parts of weights at zero that a norm is taken of, or that hooks mask already.

    Raises:
        IsopruneError: Naming the tensor: zeros would change the norm, and a filter of zeros has none.
    """
    known = {name: key for key, (name, _) in tensor_names(model).items()}
    masked = {
        id(module._buffers[hook._tensor_name + "_mask"])
        for module in model.modules()
        for hook in module._forward_pre_hooks.values()
        if isinstance(hook, BasePruningMethod)
    }
    for name in names:
        if known.get(name) in masked:
            raise IsopruneError(
                f"{name} is a mask of torch.nn.utils.prune, and two masks on one weight do not go together. "
                "Make it permanent first: torch.nn.utils.prune.remove(module, name)."
            )
    for norm in weight_norms(model, graph):
        for name in sorted(norm.tensors & set(names)):
            kind = "weight norm" if isinstance(norm, WeightLength) else "spectral norm"
            raise IsopruneError(
                f"{name} is under {kind}, and a mask on it would change the norm of what is left. Prune it "
                "without mask=True at grain 'channel', or make the weight plain first: "
                "torch.nn.utils.remove_weight_norm, remove_spectral_norm or parametrize."
                "remove_parametrizations."
            )


_LOOKUPS = {"embedding", "index", "index_select", "gather", "take_along_dim"}


def roots_of_weights(nodes: Sequence[Node], names: Mapping[int, str]) -> dict[int, frozenset[str]]:
    """Return, by position, of which tensors an operation is made that no data come to: of these alone.

    A lookup in a table makes data: it depends on the positions.
    """
    made: dict[int, frozenset[str]] = {}
    data: set[int] = set()
    roots: dict[int, frozenset[str]] = {}
    for i, node in enumerate(nodes):
        if not node.of_weights or node.op in _LOOKUPS or not data.isdisjoint(node.reads):
            data.update(node.writes)
            continue
        own = [made.get(key, frozenset((names[key],)) if key in names else frozenset()) for key in node.reads]
        roots[i] = frozenset().union(*own)
        made.update(dict.fromkeys(node.writes, roots[i]))
    return roots


def carried(graph: Graph, nodes: Sequence[Node], roots: Mapping[int, frozenset[str]]) -> np.ndarray:
    """Return, by id, whether activations have the channel (bool): not the rank of a factorised weight."""
    found = np.zeros(int(graph.component.max()) + 1, dtype=bool)
    for i, node in enumerate(nodes):
        if i not in roots:
            for planes, _ in node.outputs:
                for plane in planes:
                    found[graph.component[plane.core.numpy()]] = True
    return found[graph.component]
