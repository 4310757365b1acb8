"""Image files as the inputs of a network: read, cut and normalised; and a folder of them to measure on."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from isoprune.data.readable import SUFFIXES, images_in, require_readable
from isoprune.types import IsopruneError
from isoprune.types.data import Preprocessing
from isoprune.types.importing import imported
from isoprune.types.seeded import seeded

if TYPE_CHECKING:
    from PIL import Image

# Of ImageNet, by which most networks for colour images were trained; grey images go to [-1, 1].
COLOUR = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY = (0.5,), (0.5,)
MARGIN = 256 / 224  # the shorter side before the crop, as torchvision's evaluation presets have it


def images_below(
    folder: Path,
    shape: tuple[int, int, int],
    *,
    samples: int,
    seed: int,
    on_error: str = "raise",
    how: Preprocessing | None = None,
) -> Float32[Tensor, "samples channels height width"]:
    """Return ``samples`` images drawn from below ``folder``, fewer samples being the first of more.

    Args:
        on_error: "raise", or "skip" images that cannot be read.
        how: How they become inputs. None: the shorter side is brought to 8/7 of the crop's, the middle is cut
            out, and values are normalised: by ImageNet's mean and standard deviation for three channels, to
            [-1, 1] for one.

    Raises:
        IsopruneError: If there is no image, some cannot be read, or ``shape`` has another number of channels.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise IsopruneError(
            f"The network takes {channels} channels, images of a folder have 1 or 3. Give a data set, or a "
            "function of your own: my_package.module:function."
        )
    every = images_in(folder)
    bad = require_readable(folder, every, on_error)
    files = [Path(file) for file in every if file not in bad]
    if not files:
        raise IsopruneError(f"No image below {folder}. Give a folder that holds {', '.join(SUFFIXES)} files.")
    order = torch.randperm(len(files), generator=seeded(seed))[:samples]
    how = how or usual(min(height, width), channels)
    images = (open_image(files[i], channels) for i in order.tolist())
    return finished(torch.stack([input_of(image, (height, width), how) for image in images]), how)


def usual(size: int, channels: int) -> Preprocessing:
    """Return how torchvision's evaluation presets make inputs of ``size`` x ``size``; grey in [-1, 1]."""
    return Preprocessing(round(MARGIN * size), *(COLOUR if channels == 3 else GREY))


def input_of(image: Image.Image, size: tuple[int, int], how: Preprocessing) -> Tensor:
    """Return an image as its input, but for `finished`: bytes [channels, height, width], or a transform's."""
    if how.transform is not None:
        made = transform_of(how.transform)(image)
        if not isinstance(made, Tensor) or not made.is_floating_point() or made.ndim != 3:
            raise IsopruneError(
                f"{how.transform} gave {getattr(made, 'shape', type(made).__name__)} for an image. It must "
                "give a float tensor [channels, height, width]: end it with ToTensor and Normalize."
            )
        return made
    return pixels_of(middle(image, *size, how))


def finished(inputs: Tensor, how: Preprocessing) -> Tensor:
    """Return a batch of what `input_of` gave as the network takes it: bytes are normalised."""
    if inputs.is_floating_point():
        return inputs
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (how.mean, how.std))
    return inputs.float().div_(255).sub_(mean).div_(std)


@functools.cache
def transform_of(name: str) -> Callable[[Any], Any]:
    """Return the transform of the user's that ``"module:name"`` names; what takes nothing makes one.

    Raises:
        IsopruneError: If there is none.
    """
    module, _, path = name.partition(":")
    try:
        found: Any = functools.reduce(getattr, path.split("."), imported(module))
    except (ImportError, AttributeError) as error:
        raise IsopruneError(
            f"No transform {name}: {error}. Write my_package.module:function: it takes an image, or nothing "
            "and returns a transform."
        ) from error
    parameters = inspect.signature(found).parameters.values()
    takes = [
        p
        for p in parameters
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    variable = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return found if takes or variable else found()


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


def middle(image: Image.Image, height: int, width: int, how: Preprocessing | None = None) -> Image.Image:
    """Return the middle of an image that was brought to size; of the usual one 7/8 of the shorter side.

    For a square it is what torchvision's ``Resize`` and ``CenterCrop`` give; for others the side
    that is the shorter one relative to the crop decides.
    """
    margin = MARGIN if how is None else how.resize / min(height, width)
    # Each side is computed from the other by rounding down, as torchvision does.
    if image.height * width <= image.width * height:
        tall = round(margin * height)
        size = [tall, max(int(tall * image.width / image.height), width)]
    else:
        wide = round(margin * width)
        size = [max(int(wide * image.height / image.width), height), wide]
    resized = transforms().resize(
        image, size, interpolation=mode_of(how.interpolation if how else "bilinear")
    )
    return transforms().center_crop(resized, [height, width])


def mode_of(interpolation: str) -> Any:
    """Return torchvision's name of an interpolation."""
    from torchvision.transforms import InterpolationMode

    return InterpolationMode(interpolation)


def pixels_of(image: Image.Image) -> UInt8[Tensor, "channels height width"]:
    return transforms().pil_to_tensor(image)


def transforms() -> Any:
    """Return torchvision's functions on images; they are slow to import, and not needed by data in memory."""
    from torchvision.transforms.v2 import functional

    return functional
