"""Every weight of a network as filter matrices, whatever layer holds it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from isoprune.graph.cloning import copied
from isoprune.methods.layers.stored import is_plain, kept_by_mask, require_plain, stored, write_
from isoprune.signals.matrices import LAYERS, TRANSPOSED, as_matrices
from isoprune.types import IsopruneError

Change = Callable[["Weight", Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Weight:
    """One weight tensor of one layer.

    ``blocks`` filter matrices lie in it, one below the other: the groups of a convolution, whose filters read
    different channels, or the query, key and value projections of an attention. ``parameter`` is what is
    trained, and ``mask`` (bool), if there is one, what of it is not held at zero.
    """

    name: str  # of the module; of the tensor, where a module has several weights
    module: nn.Module
    blocks: int = 1
    key: str = "weight"  # the module's attribute

    @property
    def parameter(self) -> Tensor:
        behind = stored(self.module, self.key)
        assert behind is not None
        return behind

    def require_plain(self) -> None:
        """Refuse a weight that something else than a mask is computed from."""
        require_plain(self.name, self.module, self.key)

    @property
    def mask(self) -> Tensor | None:
        return kept_by_mask(self.module, self.key)

    @property
    def bias(self) -> Tensor | None:
        """What is trained of the layer's bias; `write_bias_` puts another there."""
        return stored(self.module, "bias")

    @property
    def tensor(self) -> str:
        """The name of the weight in the network."""
        return self.name if self.key != "weight" else f"{self.name}.weight".lstrip(".")

    @property
    def matrices(self) -> Tensor:
        """The filter matrices [blocks, filters, fan_in], masked, in float32 or better; detached."""
        W, mask = self.parameter.detach(), self.mask
        W = W.float() if W.dtype in (torch.float16, torch.bfloat16) else W.clone()
        return self.arranged(W if mask is None else torch.where(mask, W, 0))

    @property
    def masks(self) -> list[Tensor | None]:
        """What the mask leaves of each filter matrix (bool), None without a mask."""
        return [None] * self.blocks if self.mask is None else list(self.arranged(self.mask))

    def arranged(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the weight's shape as filter matrices [blocks, filters, fan_in]."""
        return as_matrices(tensor, self.module, self.blocks)

    def laid_back(self, matrices: Tensor) -> Tensor:
        """Return filter matrices as a tensor of the weight's shape: the inverse of `arranged`."""
        shape = self.parameter.shape
        if not isinstance(self.module, TRANSPOSED):
            return matrices.reshape(shape)
        one = (shape[1], shape[0] // self.blocks, *shape[2:])
        return torch.cat([m.reshape(one).transpose(0, 1) for m in matrices])

    def write_(self, matrices: Tensor) -> None:
        """Put new filter matrices into the layer; what a mask holds at zero stays zero."""
        write_(self.module, self.key, self.laid_back(matrices))

    def write_bias_(self, bias: Tensor) -> None:
        write_(self.module, "bias", bias)


def weights(model: nn.Module) -> list[Weight]:
    """Return the weights of all Linear, convolution and attention layers, tied ones once.

    The order is that of registration. The last Linear (the last layer, if there is none) is the classifier:
    `classifier`.

    Raises:
        IsopruneError: If a weight is parametrised otherwise than by a mask.
    """
    every = list(every_weight(model))
    for weight in every:
        weight.require_plain()
    return _once(every)


def plain_weights(model: nn.Module) -> list[Weight]:
    """Return those of `weights` that can be written; what something else computes is left out."""
    return _once(weight for weight in every_weight(model) if is_plain(weight.module, weight.key))


def _once(every: Iterable[Weight]) -> list[Weight]:
    found: dict[int, Weight] = {}
    for weight in every:
        found.setdefault(id(weight.parameter), weight)
    return list(found.values())


def shared_with_tables(model: nn.Module) -> set[int]:
    """Return the parameters that embeddings hold: to fit a layer tied to one would change what all read."""
    tables = (m for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag))
    return {id(table.weight) for table in tables}


def classifier(model: nn.Module) -> nn.Module | None:
    """Return the last Linear in order of registration, or the last layer if there is no Linear."""
    layers = [m for m in model.modules() if isinstance(m, LAYERS)]
    return ([m for m in layers if isinstance(m, nn.Linear)] or layers or [None])[-1]


def rewritten(
    model: nn.Module,
    change: Change,
    *,
    gain: int | float | None = None,
    classifier_gain: int | float | None = None,
) -> nn.Module:
    """Return a copy with ``gain * change(weight, W, mask)`` in the place of every filter matrix W.

    Of a masked matrix, ``change`` gets the rows and the input channels of which the mask leaves something,
    with the mask there (None where it leaves all): those that channel, filter or head pruning would leave, so
    a masked network is repaired as the small one is. Within it, what ``change`` puts outside the mask is
    dropped.

    Args:
        gain: None: `activation_gain` of the network.
        classifier_gain: Of the last Linear (the last layer, if there is none); None: ``gain``.

    Raises:
        IsopruneError: From ``change``, with the layer's name before it; see `weights` and `activation_gain`.
    """
    weights(model)  # what cannot be repaired is refused before anything is copied
    repaired = copied(model)
    usual, last = gain_or_default(repaired, gain), classifier(repaired)
    for weight in weights(repaired):
        own = classifier_gain if weight.module is last and classifier_gain is not None else usual
        parts = zip(weight.matrices, weight.masks, strict=True)
        try:
            weight.write_(torch.stack([own * _changed(weight, W, mask, change) for W, mask in parts]))
        except IsopruneError as error:
            raise IsopruneError(f"{weight.name}: {error}") from None
    return repaired


def _changed(weight: Weight, W: Tensor, mask: Tensor | None, change: Change) -> Tensor:
    if mask is None:
        return change(weight, W, None)
    taps = math.prod(getattr(weight.module, "kernel_size", ()))
    rows = mask.any(1)
    columns = mask.any(0).view(-1, taps).any(1).repeat_interleave(taps)
    new, part = torch.zeros_like(W), mask[rows][:, columns]
    if part.numel():
        inside = change(weight, W[rows][:, columns], None if part.all() else part)
        new[rows.nonzero(), columns.nonzero().T] = inside
    return new


def every_weight(model: nn.Module) -> Iterator[Weight]:
    """Yield the weights of all layers, tied ones by each name, and those that something computes."""
    for name, module in model.named_modules():
        if isinstance(module, LAYERS):
            yield Weight(name, module, int(getattr(module, "groups", 1)))
        elif isinstance(module, nn.MultiheadAttention):
            for key in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
                if stored(module, key) is not None:
                    blocks = 3 if key == "in_proj_weight" else 1
                    yield Weight(f"{name}.{key}".lstrip("."), module, blocks, key)


# By name, so that NewGELUActivation, QuickGELU and torch.relu_ count too. These pass about half the power of
# a zero-mean signal, which the published gain sqrt(2) makes up for.
_RELU_LIKE = re.compile(r"elu|silu|mish|swish|softplus", re.IGNORECASE)


def activation_gain(model: nn.Module) -> float:
    """Return sqrt(2) if the network has a ReLU-like nonlinearity, as a module or in its forward; else 1.

    Raises:
        IsopruneError: If no module says so and the forward cannot be traced.
    """
    if any(_RELU_LIKE.search(type(m).__name__) for m in model.modules()):
        return math.sqrt(2)
    try:
        nodes = fx.symbolic_trace(model).graph.nodes
    except Exception as error:  # tracing runs the user's forward, which may raise anything
        raise IsopruneError(
            f"Cannot tell whether {type(model).__name__} has a ReLU-like nonlinearity: no module is one and "
            f"its forward cannot be traced ({type(error).__name__}). Pass gain = 1.4142 if it has, gain = 1 "
            "if not."
        ) from error
    called = (n.target if n.op == "call_method" else getattr(n.target, "__name__", "") for n in nodes)
    return math.sqrt(2) if any(_RELU_LIKE.search(str(name)) for name in called) else 1.0


def gain_or_default(model: nn.Module, gain: int | float | None) -> float:
    """Return ``gain``, or what the network's activation asks for."""
    return float(gain) if gain is not None else activation_gain(model)
