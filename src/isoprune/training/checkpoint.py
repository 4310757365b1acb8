"""One file, whole or not there: tensors as safetensors, facts as JSON in its header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from isoprune.types import IsopruneError
from isoprune.types.files import write_atomic
from isoprune.types.temporary import clear_temporary


class Damaged(Exception):
    """The file is there and is no whole checkpoint."""


def write(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a checkpoint so that ``path`` holds the old one or the new one, whenever the power fails.

    Raises:
        IsopruneError: If the disk is full or may not be written; the old checkpoint stays.
    """
    # Copies: safetensors refuses tensors that share memory, as tied weights do.
    tensors = {
        name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()
    }
    text = json.dumps(facts)
    content = save(tensors, {"facts": text, "digest": digest(tensors, text)})
    try:
        write_atomic(path, content)
        clear_temporary(path.parent, path.name)
    except OSError as error:
        raise IsopruneError(
            f"Cannot write the checkpoint {path}: {error.strerror or error}. "
            "Make room or choose a directory that can be written; the last whole checkpoint is kept."
        ) from error


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return tensors and facts, or None if there is no file.

    Raises:
        Damaged: If the file was cut short or changed since it was written.
        IsopruneError: If it is whole, and something else than a checkpoint.
    """
    if not path.exists():
        return None
    if not path.is_file():  # Reading a pipe would never end.
        raise Damaged(f"{path}: not a file")
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise Damaged(f"{path}: {error}") from error
    if not {"facts", "digest"} <= header.keys():
        raise IsopruneError(
            f"{path} holds tensors of another origin. Move it, or give another checkpoint path."
        )
    # safetensors notices a missing tail, not a changed byte.
    if header["digest"] != digest(tensors, header["facts"]):
        raise Damaged(f"{path}: its digest is not that of its content")
    return tensors, json.loads(header["facts"])


def digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """Return the SHA-256 of names, types, shapes and bytes, 16 hexadecimal digits of it."""
    total = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]
