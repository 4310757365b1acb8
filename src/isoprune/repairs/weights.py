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

    name: str  # of the module
    module: nn.Module
    parameter: nn.Parameter
    blocks: int = 1
    mask: Tensor | None = None

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
                self.module.weight = self.parameter * self.mask  # pyright: ignore[reportAttributeAccessIssue]


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
            blocks = int(getattr(module, "groups", 1))
            mask = getattr(module, "weight_mask", None)
            stored = module.weight if mask is None else module.weight_orig
            yield Weight(name, module, stored, blocks, mask)  # pyright: ignore[reportArgumentType]
        elif isinstance(module, nn.MultiheadAttention):
            for key in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
                tensor = getattr(module, key, None)
                if tensor is not None:
                    _require_plain(name, module, key)
                    yield Weight(f"{name}.{key}".lstrip("."), module, tensor, 3 if key[0] == "i" else 1)


def _require_plain(name: str, module: nn.Module, key: str) -> None:
    if parametrize.is_parametrized(module, key) or not (key in module._parameters or _masked(module)):
        raise IsopruneError(
            f"{name}: the weight is parametrised, so what a repair writes would not survive the next "
            "forward. Make it plain first: torch.nn.utils.parametrize.remove_parametrizations."
        )


def _masked(module: nn.Module) -> bool:
    return "weight_orig" in module._parameters and "weight_mask" in module._buffers
