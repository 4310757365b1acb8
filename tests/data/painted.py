"""Folders of tiny images, made on the fly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from isoprune.data import load
from isoprune.types import Splits


def paint(file: Path, seed: int, size: tuple[int, int] = (20, 14)) -> Path:
    """Write smooth noise, of which two images or two parts of one are never alike."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(file)
    return file


def folder(root: Path, counts: Mapping[str, int], *, suffix: str = ".png") -> Path:
    """Write ``counts[name]`` images below ``root/name``, each another, of sizes that differ."""
    seed = 0
    for name, count in counts.items():
        for i in range(count):
            seed += 1
            paint(root / name / f"{i:03d}{suffix}", hash_of(name) + seed, (18 + i % 5, 25 - i % 7))
    return root


def hash_of(name: str) -> int:
    return sum(256 * (i + 1) * ord(c) for i, c in enumerate(name))


def opened(root: Path, seed: int = 0, **options: Any) -> Splits:
    """Return the data set of a folder, its images cut to eight pixels."""
    return load("image_folder", root=root, seed=seed, **{"size": 8, "validation": 4} | options)
