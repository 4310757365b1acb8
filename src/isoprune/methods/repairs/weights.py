"""Every weight of a network as filter matrices, whatever layer holds it: what repairs work on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from isoprune.linalg import filter_matrix
from isoprune.types import IsopruneError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)


@dataclass(frozen=True)
class Weight:
    """One weight tensor of one layer.

    ``blocks`` filter matrices lie in it, one below the other: the groups of a convolution, whose filters read
    different channels, or the query, key and value projections of an attention. ``mask`` is the 0/1 mask of
    `torch.nn.utils.prune`, if there is one; ``parameter`` is then the tensor that it is multiplied with.
    """

    name: str  # of the module; of the tensor, where a module has several weights
    module: nn.Module
    parameter: Tensor
    blocks: int = 1
    mask: Tensor | None = None
    key: str = "weight"  # the module's attribute

    @property
    def tensor(self) -> str:
        """The name of the weight in the network."""
        return self.name if self.key != "weight" else f"{self.name}.weight".lstrip(".")

    @property
    def matrices(self) -> Tensor:
        """The filter matrices [blocks, filters, fan_in], masked, in float32 or better; detached."""
        stored = self.parameter.detach() if self.mask is None else self.parameter.detach() * self.mask
        return self.arranged(
            stored.float() if stored.dtype in (torch.float16, torch.bfloat16) else stored.clone()
        )

    def arranged(self, stored: Tensor) -> Tensor:
        """Return a tensor of the weight's shape as filter matrices [blocks, filters, fan_in]."""
        parts = stored.chunk(self.blocks)
        # A transposed convolution stores [in, out / groups, ...]: its filters are the second dimension.
        flip = isinstance(self.module, TRANSPOSED)
        return torch.stack([filter_matrix(p.transpose(0, 1) if flip else p) for p in parts])

    def write_(self, matrices: Tensor) -> None:
        """Put new filter matrices into the layer; what a mask holds at zero stays as it was."""
        if not isinstance(self.module, TRANSPOSED):
            new = matrices.reshape(self.parameter.shape)
        else:
            shape = self.parameter.shape
            one = (shape[1], shape[0] // self.blocks, *shape[2:])
            new = torch.cat([m.reshape(one).transpose(0, 1) for m in matrices])
        with torch.no_grad():
            if self.mask is not None:
                new = torch.where(self.mask.bool(), new.to(self.parameter.dtype), self.parameter)
            self.parameter.copy_(new)
            if self.mask is not None:  # what the next forward would put there
                setattr(self.module, self.key, self.parameter * self.mask)


def weights(model: nn.Module, *, masked: bool = False) -> list[Weight]:
    """Return the weights of all Linear, convolution and attention layers, tied ones once.

    The order is that of registration. The last Linear (the last layer, if there is none) is the classifier:
    `classifier`.

    Args:
        masked: Whether the repair keeps masks; otherwise a masked weight is refused.

    Raises:
        IsopruneError: If a weight is parametrised, or masked where the repair would break the mask.
    """
    found: list[Weight] = []
    seen: set[int] = set()
    for weight in _all(model):
        if weight.mask is not None and not masked:
            raise IsopruneError(
                f"{weight.name}: the weight is masked, and this repair would not keep the mask. Make it "
                "plain first (torch.nn.utils.prune.remove), or take approximate_isometry, rescale, lsuv, "
                "exact_orthogonal_sparse, reconstruct or batchnorm, which keep it."
            )
        if id(weight.parameter) not in seen:
            seen.add(id(weight.parameter))
            found.append(weight)
    return found


def classifier(model: nn.Module) -> nn.Module | None:
    """Return the last Linear in order of registration, or the last layer if there is no Linear."""
    layers = [m for m in model.modules() if isinstance(m, LAYERS)]
    return ([m for m in layers if isinstance(m, nn.Linear)] or layers or [None])[-1]


def map_matrices_(
    model: nn.Module, change: Callable[[Weight, Tensor], Tensor], *, masked: bool = False
) -> None:
    """Put ``change(weight, W)`` in the place of every filter matrix W; errors name the layer."""
    for weight in weights(model, masked=masked):
        try:
            weight.write_(torch.stack([change(weight, W) for W in weight.matrices]))
        except IsopruneError as error:
            raise IsopruneError(f"{weight.name}: {error}") from None


def _all(model: nn.Module) -> Iterator[Weight]:
    for name, module in model.named_modules():
        if isinstance(module, LAYERS):
            _require_plain(name, module, "weight")
            yield Weight(name, module, *_stored(module, "weight", int(getattr(module, "groups", 1))))
        elif isinstance(module, nn.MultiheadAttention):
            for key in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
                if getattr(module, key, None) is not None:
                    _require_plain(name, module, key)
                    stored = _stored(module, key, 3 if key == "in_proj_weight" else 1)
                    yield Weight(f"{name}.{key}".lstrip("."), module, *stored, key)


def _stored(module: nn.Module, key: str, blocks: int) -> tuple[Tensor, int, Tensor | None]:
    """Return the tensor that is trained, its blocks, and the mask that it is multiplied with."""
    mask = getattr(module, f"{key}_mask", None)
    return getattr(module, key if mask is None else f"{key}_orig"), blocks, mask


def _require_plain(name: str, module: nn.Module, key: str) -> None:
    if parametrize.is_parametrized(module, key) or not (key in module._parameters or _masked(module, key)):
        raise IsopruneError(
            f"{name}: the weight is parametrised, so what a repair writes would not survive the next "
            "forward. Make it plain first: torch.nn.utils.parametrize.remove_parametrizations."
        )


def _masked(module: nn.Module, key: str) -> bool:
    return f"{key}_orig" in module._parameters and f"{key}_mask" in module._buffers
