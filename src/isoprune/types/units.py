"""Units: what can only be removed together, from a single weight to a channel of several coupled tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from isoprune.types.shown import shown

Scores = Mapping[str, Tensor]  # units name -> float [units.shape]; high stays

GRAINS = ("channel", "head", "filter", "kernel", "vector", "weight", "n:m", "block")
DEPTH = "residual_block"  # whole items of a list of modules: units of few methods


def counted(grain: str) -> str:
    """Return what units of a grain are called where they are counted: "channels", "weights (2:4)"."""
    if ":" in grain:
        return f"weights ({grain})"
    return f"blocks of {grain}" if grain[:1].isdigit() else f"{grain.replace('_', ' ')}s"


@shown
@dataclass(frozen=True, repr=False)
class Member:
    """Where units live in one tensor.

    ``unit`` has the tensor's number of dimensions and is broadcast against it: it holds the (flat) unit of
    every element, -1 where the element is of none. None: every element is a unit of its own, in order (the
    grain "weight"), which is never stored. ``role`` says what the tensor does with channels: "out" makes
    them (the filters of a Linear or convolution), "in" reads them, "other" goes along (bias, BatchNorm,
    tables). ``dims`` are the dimensions along which ``unit`` varies.
    """

    tensor: str
    dims: tuple[int, ...]
    role: str
    unit: Tensor | None

    def __str__(self) -> str:
        return f"Member({self.tensor}, dims={self.dims}, role={self.role!r})"

    @property
    def channels(self) -> Tensor:
        """The unit of every element, where it is stored: of channels and heads."""
        if self.unit is None:
            raise ValueError(f"{self.tensor} is its own units: there is no table of them.")
        return self.unit


@shown
@dataclass(frozen=True, repr=False)
class Units:
    """Parts of several tensors that can only go together: one of them for every index of ``shape``.

    ``numbers`` are n and m, of the grain n:m.
    """

    name: str
    grain: str
    shape: tuple[int, ...]
    members: tuple[Member, ...]
    numbers: tuple[int, int] | None = None

    def __str__(self) -> str:
        tensors = list(dict.fromkeys(member.tensor for member in self.members))
        more = f" and {len(tensors) - 3} more" if len(tensors) > 3 else ""
        return f"Units({self.name}: {self.size:,} {counted(self.grain)} of {', '.join(tensors[:3])}{more})"

    @property
    def size(self) -> int:
        """How many units there are."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class UpdatingScores(Mapping[str, Tensor]):
    """Scores of a criterion that also says how the weights that stay make up for those that go.

    ``update`` takes what stays of tensors that lose something (bool, by name), and returns new weights, by
    name: zero where nothing stays. Tensors that it says nothing of stay as they are.
    """

    scores: Scores
    update: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]

    def __getitem__(self, name: str) -> Tensor:
        return self.scores[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)


def layer_of(tensor: str) -> str:
    """Return the name of the layer that a tensor is of, whatever its weight is computed from."""
    return (
        tensor.partition(".parametrizations.")[0]
        if ".parametrizations." in tensor
        else (tensor.rpartition(".")[0] or tensor)
    )


@dataclass(frozen=True)
class Frozen:
    """Channels that must stay, and why, in words that name the op and the module."""

    tensor: str
    dim: int
    channels: int
    reason: str
