"""VGG-19 with BatchNorm for small images: one Linear layer at its end (after Simonyan & Zisserman, 2015)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator, Tensor, nn

from isoprune.models.checks import check_classes, check_image
from isoprune.models.draw import kaiming_
from isoprune.models.weights import started

# Filters of the 3 x 3 convolutions; 0 halves the image.
VGG_19 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512)
LEAST = 16  # four halvings


class VGG(nn.Module):
    """Convolutions without bias, each with BatchNorm and ReLU; mean over what is left; Linear."""

    def __init__(self, channels: int, classes: int, plan: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in plan:
            if not width:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(x)).flatten(1))


def vgg19(
    in_shape: Sequence[int], classes: int, *, weights: str = "none", generator: Generator | None = None
) -> nn.Module:
    """Return the papers' VGG-19 for CIFAR: 16 convolutions with BatchNorm, global average, one Linear.

    ``weights`` is "none" or the path of a file. Drawn by Kaiming's rule.
    """
    check_classes(classes)
    check_image("vgg19", in_shape, least=LEAST)
    return started(
        lambda outputs: VGG(in_shape[0], outputs, VGG_19),
        classes,
        head="classifier",
        weights=weights,
        generator=generator,
        draw=kaiming_,
    )
