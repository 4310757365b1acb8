"""A folder of images as the inputs of a network: no labels, no splits, for measuring only."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Generator, Tensor

from isoprune.types import IsopruneError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
# Of ImageNet, by which most networks for colour images were trained; grey images go to [-1, 1].
COLOUR = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY = (0.5,), (0.5,)
_MARGIN = 256 / 224  # the shorter side before the crop, as torchvision's evaluation presets have it


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
    images = torch.stack([_read(files[i], channels, height, width) for i in order.tolist()])
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (COLOUR if channels == 3 else GREY))
    return (images - mean) / std


def _read(file: Path, channels: int, height: int, width: int) -> Tensor:
    from PIL import Image, UnidentifiedImageError
    from torchvision.transforms.functional import center_crop, pil_to_tensor, resize

    try:
        with Image.open(file) as image:
            pixels = pil_to_tensor(image.convert("RGB" if channels == 3 else "L"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise IsopruneError(
            f"{file} is no image that can be read: {error}. Take it out of the folder."
        ) from error
    scale = _MARGIN * max(height / pixels.shape[1], width / pixels.shape[2])
    size = [max(round(scale * pixels.shape[1]), height), max(round(scale * pixels.shape[2]), width)]
    return center_crop(resize(pixels, size, antialias=True), [height, width]).float() / 255
