"""Residual networks with BatchNorm for small images (He, Zhang, Ren & Sun, 2016, section 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Generator, Tensor, nn
from torch.nn.functional import pad

from isoprune.models.checks import check_classes, check_image, check_sizes
from isoprune.models.draw import drawn, kaiming_
from isoprune.models.weights import started

Shortcut = Callable[[int, int, int], nn.Module]  # (channels before, after, stride)


class PaddedShortcut(nn.Module):
    """Option A: every second pixel, and new channels that are zero, half of them before the old ones.

    It has no weight. A pruned stream stays one: the new channels are padding whatever the old ones are.
    """

    def __init__(self, new: int, stride: int) -> None:
        super().__init__()
        self.before, self.after, self.stride = new // 2, new - new // 2, stride

    def forward(self, x: Tensor) -> Tensor:
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def padded(before: int, after: int, stride: int) -> nn.Module:
    """Return the shortcut of option A."""
    return PaddedShortcut(after - before, stride)


def projected(before: int, after: int, stride: int) -> nn.Module:
    """Return the shortcut of option B: a 1 x 1 convolution and BatchNorm."""
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut: as it is, or ``shortcut`` where the shape changes."""

    def __init__(self, before: int, after: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU()
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = shortcut(before, after, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """A 3 x 3 stem, three stages of basic blocks (each twice as wide and half as large), mean, Linear."""

    def __init__(self, channels: int, classes: int, *, stem: int, blocks: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, stem, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU()
        self.stages = nn.Sequential(
            _stage(stem, stem, 1, blocks, shortcut),
            _stage(stem, 2 * stem, 2, blocks, shortcut),
            _stage(2 * stem, 4 * stem, 2, blocks, shortcut),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * stem, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.conv(x)))
        x = self.pool(self.stages(x))
        return self.fc(x.flatten(1))


def _stage(before: int, after: int, stride: int, blocks: int, shortcut: Shortcut) -> nn.Sequential:
    rest = (BasicBlock(after, after, 1, shortcut) for _ in range(blocks - 1))
    return nn.Sequential(BasicBlock(before, after, stride, shortcut), *rest)


def resnet_small(
    in_shape: Sequence[int],
    classes: int,
    *,
    stem: int = 16,
    blocks: int = 3,
    generator: Generator | None = None,
) -> ResNet:
    """Return a residual network of 6 ``blocks`` + 2 layers that two cores can train, option-B shortcuts.

    The stages are 1, 2 and 4 ``stem`` wide.
    """
    check_classes(classes)
    check_sizes(stem=stem, blocks=blocks)
    check_image("resnet_small", in_shape)
    return drawn(
        lambda: ResNet(in_shape[0], classes, stem=stem, blocks=blocks, shortcut=projected), generator
    )


def resnet56(
    in_shape: Sequence[int],
    classes: int,
    *,
    blocks: int = 9,
    stem: int = 16,
    weights: str = "none",
    generator: Generator | None = None,
) -> nn.Module:
    """Return the papers' residual network for CIFAR: 6 ``blocks`` + 2 layers, option-A shortcuts.

    ``blocks`` 3, 5, 9 and 18 are ResNet-20, -32, -56 and -110. ``weights`` is "none" or the path of a
    file. Drawn by Kaiming's rule, as in the authors' code.
    """
    check_classes(classes)
    check_sizes(stem=stem, blocks=blocks)
    check_image("resnet56", in_shape)
    return started(
        lambda outputs: ResNet(in_shape[0], outputs, stem=stem, blocks=blocks, shortcut=padded),
        classes,
        head="fc",
        weights=weights,
        generator=generator,
        draw=kaiming_,
    )
