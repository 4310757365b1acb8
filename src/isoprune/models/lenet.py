"""LeNet-5 (LeCun, Bottou, Bengio & Haffner, 1998), as the paper has it: max-pooling, linear or ReLU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator, Tensor, nn

from isoprune.models.checks import activation_named, check_classes, check_image
from isoprune.models.draw import drawn

# Two 5 x 5 convolutions, each followed by a halving, must leave the third its 5 x 5.
LEAST = 32


class LeNet5(nn.Module):
    """Three 5 x 5 convolutions of 6, 16 and 120 filters, pooling after the first two, then 84 units.

    ``final`` is the number of pixels that the third convolution leaves: 1 for 32 x 32 images.
    """

    def __init__(self, channels: int, final: int, classes: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.conv3 = nn.Conv2d(16, 120, 5)
        self.fc1 = nn.Linear(120 * final, 84)
        self.fc2 = nn.Linear(84, classes)
        self.activation = activation()
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.activation(self.conv1(x)))
        x = self.pool(self.activation(self.conv2(x)))
        x = self.activation(self.conv3(x))
        x = self.activation(self.fc1(x.flatten(1)))
        return self.fc2(x)


def lenet_5(
    in_shape: Sequence[int],
    classes: int,
    *,
    activation: str = "linear",
    generator: Generator | None = None,
) -> LeNet5:
    """Return LeNet-5 for images of at least 32 x 32 pixels.

    With ``activation`` "linear" only the max-pooling is nonlinear; the other choice is "relu".
    """
    check_classes(classes)
    check_image("lenet_5", in_shape, least=LEAST)
    between = activation_named(activation)
    channels, height, width = in_shape
    final = _side_after_convolutions(height) * _side_after_convolutions(width)
    return drawn(lambda: LeNet5(channels, final, classes, between), generator)


def _side_after_convolutions(side: int) -> int:
    return ((side - 4) // 2 - 4) // 2 - 4
