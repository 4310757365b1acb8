"""Networks of the paper and of its field, for any image shape and number of classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Generator, nn

from isoprune.models.imagenet import resnet34, resnet50
from isoprune.models.lenet import LeNet5 as LeNet5
from isoprune.models.lenet import lenet_5
from isoprune.models.mlp import MLP as MLP
from isoprune.models.mlp import mlp_7
from isoprune.models.resnet import ResNet as ResNet
from isoprune.models.resnet import resnet56, resnet_small
from isoprune.models.vgg import VGG as VGG
from isoprune.models.vgg import vgg19, vgg_small
from isoprune.types.errors import pick

MODELS: dict[str, Callable[..., nn.Module]] = {
    f.__name__: f for f in (mlp_7, lenet_5, resnet_small, resnet56, vgg_small, vgg19, resnet34, resnet50)
}


def build(
    name: str, in_shape: Sequence[int], classes: int, *, generator: Generator | None, **options: Any
) -> nn.Module:
    """Return the network called ``name``, a key of ``MODELS``; ``options`` are those of its function.

    Raises:
        IsopruneError: Unknown name, or a shape that the network cannot take.
    """
    return pick(MODELS, name, "model")(in_shape, classes, generator=generator, **options)
