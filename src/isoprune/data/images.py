"""Image files as the inputs of a network: read, cut and normalised; and a folder of them to measure on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float32, UInt8
from torch import Generator, Tensor

from isoprune.types import IsopruneError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
# Of ImageNet, by which most networks for colour images were trained; grey images go to [-1, 1].
COLOUR = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY = (0.5,), (0.5,)
MARGIN = 256 / 224  # the shorter side before the crop, as torchvision's evaluation presets have it


def image_files(folder: Path) -> list[Path]:
    """Return every image below ``folder``, sorted."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def images_below(
    folder: Path, shape: tuple[int, int, int], *, samples: int, seed: int
) -> Float32[Tensor, "samples channels height width"]:
    """Return ``samples`` images drawn from below ``folder``, fewer samples being the first of more.

    The shorter side is brought to 8/7 of the crop's, the middle is cut out, and values are normalised: by
    ImageNet's mean and standard deviation for three channels, to [-1, 1] for one.

    Raises:
        IsopruneError: If there is no image, one cannot be read, or ``shape`` has another number of channels.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise IsopruneError(
            f"The network takes {channels} channels, images of a folder have 1 or 3. Give a data set, or a "
            "function of your own: my_package.module:function."
        )
    files = image_files(folder)
    if not files:
        raise IsopruneError(f"No image below {folder}. Give a folder that holds {', '.join(SUFFIXES)} files.")
    order = torch.randperm(len(files), generator=Generator().manual_seed(seed))[:samples]
    images = (open_image(files[i], channels) for i in order.tolist())
    return normalised(torch.stack([pixels_of(middle(image, height, width)) for image in images]))


def open_image(file: Path, channels: int) -> Image.Image:
    """Return an image that is read whole, in colour (3 channels) or grey (1).

    Raises:
        IsopruneError: If it cannot be read; names the file.
    """
    from PIL import Image

    try:
        with Image.open(file) as image:
            return image.convert("RGB" if channels == 3 else "L")
    # Pillow raises SyntaxError for a broken PNG, ValueError for some others.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise IsopruneError(
            f"{file} is no image that can be read: {error}. Take it out of the folder."
        ) from error


def middle(image: Image.Image, height: int, width: int) -> Image.Image:
    """Return the middle of an image, of which a crop of 7/8 of the shorter side remains.

    For a square it is what torchvision's ``Resize`` to 8/7 of it and ``CenterCrop`` give; for others the side
    that is the shorter one relative to the crop decides.
    """
    # Each side is computed from the other by rounding down, as torchvision does.
    if image.height * width <= image.width * height:
        tall = round(MARGIN * height)
        size = [tall, max(int(tall * image.width / image.height), width)]
    else:
        wide = round(MARGIN * width)
        size = [max(int(wide * image.height / image.width), height), wide]
    return transforms().center_crop(transforms().resize(image, size), [height, width])


def pixels_of(image: Image.Image) -> UInt8[Tensor, "channels height width"]:
    return transforms().pil_to_tensor(image)


def transforms() -> Any:
    """Return torchvision's functions on images; they are slow to import, and not needed by data in memory."""
    from torchvision.transforms.v2 import functional

    return functional


def normalised(
    pixels: UInt8[Tensor, "n channels height width"],
) -> Float32[Tensor, "n channels height width"]:
    """Return pixels scaled to [0, 1], then (x - mean) / std: ImageNet's for colour, 1/2 and 1/2 for grey."""
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (COLOUR if pixels.size(1) == 3 else GREY))
    return pixels.float().div_(255).sub_(mean).div_(std)
