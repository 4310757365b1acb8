"""model.safetensors: every parameter and buffer of a network, once each, by its first name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from isoprune.export.folder import DamagedNetwork, damaged, sha256_of
from isoprune.export.manifest import Manifest, StoredTensor
from isoprune.graph.cloning import tensor_names

HEADER = 2**16, 2**10  # most bytes of a safetensors header: so many, and so many a tensor


def plain_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return every tensor once; copied where it shares its memory, which safetensors refuses."""
    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensor_names(model).values():
        t = tensor.detach().cpu().contiguous()
        storage = t.untyped_storage()
        alone = storage.nbytes() == t.nbytes and storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        plain[name] = t if alone else t.clone()
    return plain


def write(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write tensors, and return the SHA-256 of the file."""
    save_file(dict(tensors), path)
    return sha256_of(path)


def check_size(path: Path, facts: Manifest) -> None:
    """Raise, before a byte is read, unless a file is there that holds the tensors and nothing else.

    Raises:
        DamagedNetwork: If it is missing, or of another size.
    """
    if not path.is_file():
        raise DamagedNetwork(f"{path} is missing")
    content = sum(entry.nbytes for entry in facts.tensors.values())
    size = path.stat().st_size
    if not content <= size <= content + HEADER[0] + HEADER[1] * len(facts.tensors):
        raise damaged(path, f"it has {size:,} bytes, its tensors {content:,}")


def read(path: Path, facts: Manifest) -> dict[str, Tensor]:
    """Return the tensors of `write`: those that the plan names, in a file whose size was checked.

    Raises:
        DamagedNetwork: If they are not as they were written.
    """
    if sha256_of(path) != facts.sha256:
        raise damaged(path, "its SHA-256 is not the one in plan.json")
    try:
        with safe_open(path, "pt") as file:
            # Copies: what safetensors hands out may be the file itself, mapped into memory.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  not a dict
    except SafetensorError as error:
        raise damaged(path, str(error)) from error
    found = {name: StoredTensor(tuple(t.shape), t.dtype, None) for name, t in tensors.items()}
    for name in sorted(found.keys() | facts.tensors.keys()):
        want = facts.tensors.get(name)
        if want is None or found.get(name) != StoredTensor(want.shape, want.dtype, None):
            raise damaged(path, f"{name} is not as plan.json has it")
    return tensors
