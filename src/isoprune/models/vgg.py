"""Plain convolutional networks with BatchNorm, for small images (after Simonyan & Zisserman, 2015)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator, Tensor, nn

from isoprune.models.checks import check_classes, check_image, check_sizes
from isoprune.models.draw import drawn, kaiming_
from isoprune.models.weights import started

# Filters of the 3 x 3 convolutions; 0 halves the image.
VGG_19 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512)
VGG_SMALL = (16, 16, 0, 32, 32, 0, 64, 64)


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
    check_image("vgg19", in_shape, least=_least(VGG_19))
    return started(
        lambda outputs: VGG(in_shape[0], outputs, VGG_19),
        classes,
        head="classifier",
        weights=weights,
        generator=generator,
        draw=kaiming_,
    )


def vgg_small(
    in_shape: Sequence[int],
    classes: int,
    *,
    widths: Sequence[int] = VGG_SMALL,
    generator: Generator | None = None,
) -> VGG:
    """Return a plain network that one core can train: 3 x 3 convolutions of ``widths`` filters, one Linear.

    A width of 0 halves the image. Drawn by Kaiming's rule.
    """
    check_classes(classes)
    filters = {f"widths[{i}]": width for i, width in enumerate(widths) if width}
    check_sizes(depth=len(filters), **filters)
    check_image("vgg_small", in_shape, least=_least(widths))
    return drawn(lambda: VGG(in_shape[0], classes, widths), generator, kaiming_)


def _least(widths: Sequence[int]) -> int:
    """Return the side in pixels that all halvings leave one of."""
    return 2 ** sum(not width for width in widths)
