"""torchvision's residual networks for ImageNet, with its weights, the user's or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from isoprune.models.checks import check_classes, check_image
from isoprune.models.draw import kaiming_fan_out_
from isoprune.models.weights import IMAGENET, started
from isoprune.types.errors import IsopruneError, one_line

# Of the two that torchvision has of resnet50 the papers prune the first, trained by the plain recipe.
PUBLISHED = "IMAGENET1K_V1"


def resnet34(
    in_shape: Sequence[int], classes: int, *, weights: str = "none", generator: Generator | None = None
) -> nn.Module:
    """Return torchvision's ResNet-34; ``weights`` is "none", "imagenet" (torchvision's) or a file's path."""
    return _resnet("resnet34", in_shape, classes, weights=weights, generator=generator)


def resnet50(
    in_shape: Sequence[int], classes: int, *, weights: str = "none", generator: Generator | None = None
) -> nn.Module:
    """Return torchvision's ResNet-50; ``weights`` is "none", "imagenet" (torchvision's) or a file's path."""
    return _resnet("resnet50", in_shape, classes, weights=weights, generator=generator)


def _resnet(
    name: str, in_shape: Sequence[int], classes: int, *, weights: str, generator: Generator | None
) -> nn.Module:
    check_classes(classes)
    check_image(name, in_shape)
    if weights == IMAGENET and in_shape[0] != 3:
        raise IsopruneError(
            f'weights = "imagenet" are those of colour images, and in_shape is {tuple(in_shape)}. Load the '
            'images with 3 channels, or give weights = "none".'
        )

    def make(outputs: int) -> nn.Module:
        import torchvision  # slow to import

        model = torchvision.models.get_model(name, weights=None, num_classes=outputs)
        if in_shape[0] != 3:
            model.conv1 = nn.Conv2d(in_shape[0], 64, 7, 2, padding=3, bias=False)
        return model

    return started(
        make,
        classes,
        head="fc",
        weights=weights,
        generator=generator,
        draw=kaiming_fan_out_,
        published=lambda: _published(name),
    )


def _published(name: str) -> Mapping[str, Tensor]:
    """Return torchvision's weights from torch's cache, or download them there; their checksum is compared."""
    import torchvision

    weights = torchvision.models.get_model_weights(name)[PUBLISHED]
    try:
        return weights.get_state_dict(progress=False, check_hash=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError) as error:
        file = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
        raise IsopruneError(
            f'weights = "imagenet": {name} cannot be downloaded or read: {one_line(error)}. Put '
            f"{weights.url} at {file} (TORCH_HOME moves that directory), or give weights the path of a file."
        ) from error
