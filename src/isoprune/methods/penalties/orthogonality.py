"""Penalties of training that keep layers near isometries; nothing goes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isoprune.linalg.isometry_loss import isometry_loss
from isoprune.methods.penalties.penalty import Penalty
from isoprune.types import IsopruneError, Plan
from isoprune.types.method import method


@method("penalty", label="KernOrth", source="Xie, Xiong & Pu, CVPR 2017, arXiv 1703.01827")
def kernel_orthogonality(model: nn.Module, plan: Plan, *, strength: float = 1e-2) -> Penalty:
    r"""Keep every filter matrix near an isometry: :math:`\lambda \sum_l \|W_l W_l^\top - I\|_F^2`.

    W is a convolution's or Linear layer's weight as [filters, fan_in]; of the larger side of a tall one the
    Gram matrix cannot be the identity, so the other is taken. Convolutions in groups are one matrix a group.

    It is KernOrth in TPP's table 1, which does not give its strength.

    Cost: a product of each filter matrix with its transpose a step. Memory: these products.
    """
    weights = _weights(model, strength)

    def loss(_: int) -> Tensor:
        terms = [isometry_loss(W) for module in weights for W in _blocks(module)]
        return strength * torch.stack(terms).sum()

    return Penalty(loss)


@method("penalty", label="OrthConv", source="Wang, Chen, Chakraborty & Yu, CVPR 2020, arXiv 1911.12207")
def orthogonal_convolution(model: nn.Module, plan: Plan, *, strength: float = 1e-2) -> Penalty:
    r"""Keep every convolution near an isometry *as an operator*: :math:`\lambda \sum_l \|K * K - I_0\|_F^2`.

    K * K [filters, filters, shifts] holds the products of any two filters, one of them shifted by every
    multiple of the stride at which they overlap; :math:`I_0` is one for a filter with itself, unshifted. It
    asks for orthonormal rows of the operator; where there are more filters than inputs of a position, columns
    are asked for in the same way: :math:`\|K^\top * K^\top - I_0\|_F^2` at stride 1. Linear layers are taken
    as in `kernel_orthogonality`.

    It is OrthConv in TPP's table 1, which does not give its strength.

    Cost: a convolution of each layer's filters with one another a step. Memory: what it makes.
    """
    weights = _weights(model, strength)

    def loss(_: int) -> Tensor:
        terms = []
        for module in weights:
            if isinstance(module, nn.Linear):
                terms.append(isometry_loss(module.weight))
            else:
                terms.append(_operator_loss(module))
        return strength * torch.stack(terms).sum()

    return Penalty(loss)


def _weights(model: nn.Module, strength: float) -> Sequence[nn.Module]:
    if not strength > 0:
        raise IsopruneError(f"strength is {strength}. Give a number above 0, or leave the penalty out.")
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    found = [module for module in model.modules() if isinstance(module, kinds)]
    if not found:
        raise IsopruneError(
            f"{type(model).__name__} has no Linear layer and no convolution to keep orthogonal. Leave the "
            "penalty out."
        )
    return found


def _blocks(module: nn.Module) -> list[Tensor]:
    """Return the filter matrices of a layer, one for each group of a convolution."""
    weight: Tensor = module.weight  # pyright: ignore[reportAssignmentType]
    return list(weight.flatten(1).chunk(getattr(module, "groups", 1)))


def _operator_loss(module: nn.Module) -> Tensor:
    terms = [_shifted(K, module) for K in module.weight.chunk(module.groups)]  # pyright: ignore
    return torch.stack(terms).sum()


def _shifted(K: Tensor, module: nn.Module) -> Tensor:
    """Return the squared distance of one group's filters, or of its columns, from orthonormal ones."""
    filters, channels, *taps = K.shape
    stride: tuple[int, ...] = module.stride  # pyright: ignore[reportAssignmentType]
    dilation: tuple[int, ...] = module.dilation  # pyright: ignore[reportAssignmentType]
    positions = channels
    for step in stride:
        positions *= step
    if filters > positions:
        K, stride = K.transpose(0, 1), (1,) * len(taps)
    # Dilated taps meet at multiples of the dilation alone: there the filter counts as an undilated one.
    apart = [s if d == 1 else max(s // d, 1) for s, d in zip(stride, dilation, strict=True)]
    padding = [(k - 1) // s * s for k, s in zip(taps, apart, strict=True)]
    convolve = (F.conv1d, F.conv2d, F.conv3d)[len(taps) - 1]
    products = convolve(K, K, stride=tuple(apart), padding=tuple(padding))
    target = torch.zeros_like(products)
    middle = tuple(p // s for p, s in zip(padding, apart, strict=True))
    index = torch.arange(len(K), device=K.device)
    target[(index, index, *middle)] = 1
    return (products - target).square().sum()
