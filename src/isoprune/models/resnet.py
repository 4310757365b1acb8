"""A residual network with BatchNorm that two cores can train (He, Zhang, Ren & Sun, 2016, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator, Tensor, nn

from isoprune.models.checks import check_classes, check_image, check_sizes
from isoprune.models.draw import drawn


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut: as it is, or 1 x 1 where the shape changes (option B)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU()
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """A 3 x 3 stem, three stages of basic blocks (each twice as wide and half as large), mean, Linear."""

    def __init__(self, channels: int, classes: int, *, stem: int, blocks: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, stem, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU()
        self.stages = nn.Sequential(
            _stage(stem, stem, 1, blocks),
            _stage(stem, 2 * stem, 2, blocks),
            _stage(2 * stem, 4 * stem, 2, blocks),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * stem, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.conv(x)))
        x = self.pool(self.stages(x))
        return self.fc(x.flatten(1))


def _stage(before: int, after: int, stride: int, blocks: int) -> nn.Sequential:
    rest = (BasicBlock(after, after, 1) for _ in range(blocks - 1))
    return nn.Sequential(BasicBlock(before, after, stride), *rest)


def resnet_small(
    in_shape: Sequence[int],
    classes: int,
    *,
    stem: int = 16,
    blocks: int = 3,
    generator: Generator | None = None,
) -> ResNet:
    """Return a residual network of 6 ``blocks`` + 2 layers; the stages are 1, 2 and 4 ``stem`` wide."""
    check_classes(classes)
    check_sizes(stem=stem, blocks=blocks)
    check_image("resnet_small", in_shape)
    return drawn(lambda: ResNet(in_shape[0], classes, stem=stem, blocks=blocks), generator)
