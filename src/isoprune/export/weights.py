"""The user's own weights from a file: safetensors, or a torch file of tensors only; no pickled code."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from isoprune.types import IsopruneError

_NESTED = ("state_dict", "model_state_dict", "model", "module", "net")  # where training scripts put it
_WRAPPERS = ("module.", "_orig_mod.")  # of data-parallel and compiled networks


def load_weights_(model: nn.Module, path: str | Path) -> None:
    """Put the weights of a file into ``model``; all names and shapes must be the model's.

    Raises:
        IsopruneError: If the file is missing, damaged, holds pickled objects, or is of another network.
    """
    put_weights_(model, read_weights(path), str(path))


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, without the prefixes of data-parallel and compiled networks.

    Raises:
        IsopruneError: If the file is missing, damaged, or holds pickled objects.
    """
    path = Path(path)
    if not path.is_file():
        raise IsopruneError(f"No {path}. Give a .safetensors file, or one that torch.save wrote.")
    state = _state_dict(_read(path))
    if state is None:
        raise IsopruneError(f"{path} holds no weights by name. Save them with model.state_dict().")
    for wrapper in _WRAPPERS:
        if all(name.startswith(wrapper) for name in state):
            state = {name.removeprefix(wrapper): t for name, t in state.items()}
    return state


def put_weights_(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Put tensors into ``model``; all names and shapes must be the model's. ``source`` is told in errors.

    Raises:
        IsopruneError: If they are those of another network.
    """
    want = model.state_dict()
    # Files older than BatchNorm's counter of batches lack it; nothing that it counts is read in eval mode.
    state = {**{n: t for n, t in want.items() if n.endswith("num_batches_tracked")}, **state}
    for name in [*want, *state]:
        here, there = (tuple(t[name].shape) if name in t else "none" for t in (want, state))
        if here != there:
            raise IsopruneError(
                f"{source} holds the weights of another network: {name} has shape {there}, but {here} in "
                f"{type(model).__name__}. Give the source that they were trained as."
            )
    for name, tensor in want.items():
        _check_numbers(name, state[name], tensor, source)
    kinds = {tensor.dtype for name, tensor in state.items() if want[name].dtype == torch.float32}
    if len(kinds) > 1:
        words = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        raise IsopruneError(f"{source} mixes {words} where the network has float32. Save them in one type.")
    model.load_state_dict(state)


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _check_packing(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle's dialects, before it refuses them
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise IsopruneError(
            f"{path} holds pickled Python objects, or is damaged; isoprune runs no code of a file. Save the "
            'weights alone: torch.save(model.state_dict(), "weights.pth"), or with safetensors.'
        ) from error
    except IsopruneError:
        raise
    except Exception as error:  # A damaged file reaches every line of its reader.
        line = f"{type(error).__name__} {str(error).partition(chr(10))[0][:150]}".strip()
        raise IsopruneError(f"{path} is damaged, or no file of weights: {line}. Copy it anew.") from error


def _check_packing(path: Path) -> None:
    """Raise if a torch file would become larger than it is: what torch.save writes is not packed."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as file:
        content = sum(entry.file_size for entry in file.infolist())
    if content > path.stat().st_size:
        raise IsopruneError(
            f"{path} is packed: its content would take {content:,} bytes. torch.save packs none."
        )


def _check_numbers(name: str, tensor: Tensor, want: Tensor, source: str) -> None:
    """Raise if a tensor would not be the same numbers in the model's type, or holds none at all."""
    mismatch = f"{source} has {name} as {str(tensor.dtype).removeprefix('torch.')}"
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        raise IsopruneError(f"{source} has {name} sparse, quantized or without numbers. Save plain tensors.")
    if tensor.is_floating_point() != want.is_floating_point() or tensor.is_complex() != want.is_complex():
        raise IsopruneError(f"{mismatch}, and the network has {str(want.dtype).removeprefix('torch.')}.")
    if tensor.is_floating_point() and bool(tensor.isnan().any()):
        raise IsopruneError(
            f"{source} has NaN in {name}: its training diverged. Take an earlier state of it."
        )


def _state_dict(content: Any) -> dict[str, Tensor] | None:
    for _ in range(3):
        if not isinstance(content, Mapping):
            return None
        tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
        if tensors and len(tensors) == len(content):
            return tensors
        content = next((content[key] for key in _NESTED if key in content), None)
    return None
