"""How image files become inputs, by a user's options: numbers, timm's config of a network, or a transform."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from isoprune.data.images import transform_of, usual
from isoprune.types.data import Preprocessing
from isoprune.types.errors import IsopruneError, pick

_MODES = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")


def preprocessing(
    size: int,
    channels: int,
    *,
    resize: int | None = None,
    crop: float | None = None,
    interpolation: str = "bilinear",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    transform: str | None = None,
) -> tuple[Preprocessing, int]:
    """Return how images become inputs, and their size: options are those of `image_folder`.

    Raises:
        IsopruneError: For numbers that do not fit together, or a transform that is none.
    """
    if transform is not None:
        given = {"resize": resize, "crop": crop, "mean": mean, "std": std}
        if both := [name for name, value in given.items() if value is not None]:
            raise IsopruneError(f"transform says all of it: leave out {', '.join(both)}.")
        if transform.startswith("timm:"):
            return preprocessing(**timm_options(transform.removeprefix("timm:")))
        transform_of(transform)
    if crop is not None:
        if resize is not None or not 0 < crop <= 1:
            raise IsopruneError(
                f"crop = {crop:g} is the part of the shorter side that stays: in (0, 1], without resize."
            )
        resize = math.floor(size / crop)  # as timm rounds
    pick(dict.fromkeys(_MODES), interpolation, "interpolation")
    how = usual(size, channels)
    chosen = tuple(how.mean if mean is None else mean), tuple(how.std if std is None else std)
    resize = how.resize if resize is None else resize
    if any(len(numbers) != channels for numbers in chosen) or min(chosen[1]) <= 0 or resize < size:
        raise IsopruneError(
            f"mean = {list(chosen[0])}, std = {list(chosen[1])}, resize = {resize}: give a number for each "
            f"of the {channels} channels, std above 0, and resize at least the size, {size}."
        )
    return Preprocessing(resize, *chosen, interpolation, transform), size


def timm_options(name: str) -> dict[str, Any]:
    """Return the options that say what timm's config of a network says; nothing is downloaded.

    Raises:
        IsopruneError: If timm is not installed, or has no such network.
    """
    try:
        from timm.data.config import resolve_data_config
        from timm.models import get_pretrained_cfg
    except ImportError:
        raise IsopruneError(f"transform = 'timm:{name}' needs timm: pip install timm.") from None
    known = get_pretrained_cfg(name)
    if known is None:
        raise IsopruneError(f"timm has no config of {name!r}. Write timm:NAME as timm.list_models() has it.")
    config: dict[str, Any] = resolve_data_config(pretrained_cfg=known.to_dict())
    channels, height, width = config["input_size"]
    if height != width or config["crop_mode"] != "center":
        raise IsopruneError(
            f"timm:{name} takes {height} x {width} pixels, crop mode {config['crop_mode']}: give a transform "
            "of your own, my_package.module:function."
        )
    return {
        "size": height,
        "channels": channels,
        "crop": config["crop_pct"],
        "interpolation": config["interpolation"],
        "mean": config["mean"],
        "std": config["std"],
    }
