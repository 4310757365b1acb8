"""plan.safetensors: the masks of a saved network and the units that its plan keeps, eight bools a byte."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from isoprune.export.folder import damaged

MASKS, KEPT = "mask/", "kept/"


def write(path: Path, masks: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """Write bools by the names of tensors (masks) and of units (kept); return the shape of each entry."""
    parts = {f"{MASKS}{name}": t for name, t in masks.items()} | {
        f"{KEPT}{name}": t for name, t in kept.items()
    }
    packed = {key: torch.from_numpy(np.packbits(t.detach().cpu().numpy())) for key, t in parts.items()}
    save_file(packed, path)
    return {key: list(t.shape) for key, t in parts.items()}


def read(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return the bools of `write`, by its keys; the file may hold nothing else, and no more bytes.

    Raises:
        DamagedNetwork: If the file is missing, or holds other entries than ``shapes``.
    """
    content = sum(-(-torch.Size(shape).numel() // 8) for shape in shapes.values())
    if not path.is_file() or path.stat().st_size > content + 2**16 + 2**10 * len(shapes):
        raise damaged(path, "missing, or larger than its plan")
    try:
        packed = load(path.read_bytes())
    except SafetensorError as error:
        raise damaged(path, str(error)) from error
    if packed.keys() != shapes.keys():
        raise damaged(path, "its entries are not those of plan.json")
    bools = {}
    for key, shape in shapes.items():
        number = torch.Size(shape).numel()
        if packed[key].dtype != torch.uint8 or packed[key].shape != (-(-number // 8),):
            raise damaged(path, f"{key} is not as plan.json has it")
        flat = np.unpackbits(packed[key].numpy(), count=number)
        bools[key] = torch.from_numpy(flat).bool().reshape(shape)
    return bools
