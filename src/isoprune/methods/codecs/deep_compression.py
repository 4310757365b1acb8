"""Deep compression: shared weights as Huffman-coded places and indices, in one file; and back, bit by bit.

Han, Mao & Dally, ICLR 2016, arXiv 1510.00149.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from isoprune.graph.cloning import clone_sharing, tensor_names
from isoprune.methods.codecs import huffman
from isoprune.methods.codecs.clusters import clustered, sharing
from isoprune.pruning.mask import harden
from isoprune.pruning.shrink import replace_tensors
from isoprune.types import IsopruneError, Network, module_of
from isoprune.types.files import DamagedFile, explained, read_file, write_atomic
from isoprune.types.method import method

FORMAT = "isoprune deep compression 1"
_HEAD = 32  # bytes of the SHA-256 of all others
_PARTS = ("numbers", "index", "index code", "gaps", "gaps code")


@dataclass(frozen=True)
class LayerBytes:
    """What one tensor takes in the file, in bytes; ``weights`` are those that are not zero."""

    name: str
    size: int
    weights: int
    dense: int
    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True, repr=False)
class Compressed:
    """A written file: its layers, and what is besides (names, shapes, checksum)."""

    path: Path
    layers: tuple[LayerBytes, ...]
    rest: int

    @property
    def total(self) -> int:
        """Bytes of the file."""
        return self.rest + sum(layer.total for layer in self.layers)

    @property
    def dense(self) -> int:
        """Bytes of the same tensors as they are."""
        return sum(layer.dense for layer in self.layers)

    def __repr__(self) -> str:
        rows = [["tensor", "weights", "not zero", "bytes", "index", "gaps", "numbers", "codes", "in all"]]
        for one in self.layers:
            p, own = one.parts, ["as it is", "", "", ""]
            if "index" in p:
                coded = (p["index"], p["gaps"], p["numbers"], p["index code"] + p["gaps code"])
                own = [f"{n:,}" for n in coded]
            counts = (one.size, one.weights, one.dense)
            rows.append([one.name, *(f"{n:,}" for n in counts), *own, f"{one.total:,}"])
        rows.append(["names, shapes, checksum", *[""] * 7, f"{self.rest:,}"])
        rows.append(["file", "", "", f"{self.dense:,}", *[""] * 4, f"{self.total:,}"])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.rjust, row[1:], widths[1:])) for row in rows]
        names = [row[0].ljust(widths[0]) for row in rows]
        table = [f"{name}  {line}" for name, line in zip(names, lines, strict=True)]
        return "\n".join([*table, f"{self.dense / self.total:.1f} times smaller"])


@method("codec", source="Han, Mao & Dally, ICLR 2016, arXiv 1510.00149")
def compress(network: Network, path: Path | str) -> Compressed:
    r"""Write a network whose weights are shared (`cluster`) into one file, and return its bytes by layer.

    The places of weights that are not zero are written as gaps, of 8 bits in convolutions and 5 in other
    layers, longer gaps in several; gaps and indices are Huffman-coded, each layer by its own code.
    All other tensors are written as they are. A code of lengths l for symbols of n places takes
    :math:`\sum_s n_s l_s` bits, the least of all codes of whole bits (Huffman, 1952).

    Cost: a pass over the weights. Memory: the file.

    Raises:
        IsopruneError: If no weight is shared, or the file cannot be written.
    """
    path = Path(path)
    content, layers = _encoded(module_of(network))
    with explained(path, remedy="Give another place."):
        write_atomic(path, content)
    return Compressed(path, layers, len(content) - sum(layer.total for layer in layers))


def coded_bytes(network: Network) -> int:
    """Return how many bytes the file has that `compress` writes; raises as it does."""
    return len(_encoded(module_of(network))[0])


def _encoded(model: nn.Module) -> tuple[bytes, tuple[LayerBytes, ...]]:
    places = clustered(model)
    if not places:
        raise IsopruneError("No weights are shared in this network. Call isoprune.cluster(network) first.")
    tensors: dict[str, Tensor] = {}
    facts: dict[str, Any] = {}
    layers = []
    for name, value in dict(tensor_names(harden(model)).values()).items():
        found = None if name not in places else sharing(*places[name])
        parts = {"": value.detach().cpu().contiguous()}
        facts[name] = {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        if found is not None:
            parts, more = _coded(*found)
            facts[name] |= more
        tensors |= {f"{name}/{part}".rstrip("/"): t for part, t in parts.items()}
        sizes = {part: t.numel() * t.element_size() for part, t in parts.items()}
        whole = value.numel() * value.element_size()
        layers.append(LayerBytes(name, value.numel(), int((value != 0).sum()), whole, sizes))
    content = save(tensors, {"format": FORMAT, "facts": json.dumps(facts, separators=(",", ":"))})
    return hashlib.sha256(content).digest() + content, tuple(layers)


def decompress(path: Path | str, model: nn.Module) -> nn.Module:
    """Return a copy of ``model`` with the tensors of a file that `compress` wrote, bit by bit.

    Args:
        model: A network of the same shapes: of the dense class where weights were masked, or what is left of
            it (``pruned.model``, or from `isoprune.load`) where channels went.

    Raises:
        IsopruneError: If the file is missing, damaged, or of another network.
    """
    path, wanted = Path(path), dict(tensor_names(model).values())
    most = sum(4 * t.numel() * max(t.element_size(), 4) + 2**13 for t in wanted.values()) + 2**16
    try:
        with explained(path):
            content = read_file(path, most=most)
        if len(content) < _HEAD or hashlib.sha256(content[_HEAD:]).digest() != content[:_HEAD]:
            raise DamagedFile("its checksum is not that of its content")
        tensors, facts = load(content[_HEAD:]), _facts(content[_HEAD:])
        return _filled(model, wanted, tensors, facts)
    except FileNotFoundError:
        raise IsopruneError(f"No {path}. Give a file that isoprune.compress wrote.") from None
    except (DamagedFile, SafetensorError, IsopruneError) as error:
        raise IsopruneError(
            f"{path} cannot be read: {error}. Write it anew, or give the right network."
        ) from None


def _filled(
    model: nn.Module, wanted: Mapping[str, Tensor], tensors: dict[str, Tensor], facts: Mapping[str, Any]
) -> nn.Module:
    if facts.keys() != wanted.keys():
        name = next(n for n in [*wanted, *facts] if (n in facts) != (n in wanted))
        raise IsopruneError(f"{name} is {'not there' if name in wanted else 'there'}, unlike in the network")
    new = {}
    for name, want in wanted.items():
        fact = facts[name]
        shape, dtype = list(want.shape), str(want.dtype).removeprefix("torch.")
        if not isinstance(fact, dict) or fact.get("shape") != shape or fact.get("dtype") != dtype:
            raise IsopruneError(f"{name} is {_seen(fact)}, not {tuple(shape)} of {dtype}")
        if name in tensors:
            value = tensors.pop(name)
            if value.shape != want.shape or value.dtype != want.dtype:
                raise IsopruneError(f"{name} is not as its facts have it")
        else:
            parts = {part: tensors.pop(f"{name}/{part}", None) for part in _PARTS}
            value = _decoded(name, want, parts, fact)
        new[name] = value.to(want.device)
    if tensors:
        raise IsopruneError(f"{next(iter(tensors))} is there, unlike in the network")
    out = clone_sharing(model)
    replace_tensors(out, new)
    return out


def _coded(index: Tensor, numbers: Tensor) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Return the parts of a shared weight, and how many symbols each code has."""
    flat = index.cpu().numpy().astype(np.int64).reshape(-1)
    at = np.flatnonzero(flat)
    width = 8 if index.dim() > 2 else 5
    gaps = _gaps(at, 2**width - 1)
    parts = {"numbers": numbers.detach().cpu().clone()}
    for part, symbols, most in (("index", flat[at] - 1, len(numbers)), ("gaps", gaps, 2**width)):
        lengths = huffman.code_lengths(np.bincount(symbols, minlength=most))
        parts[part] = torch.from_numpy(huffman.encode(symbols, lengths))
        last = int(np.flatnonzero(lengths)[-1]) + 1 if len(symbols) else 0
        parts[f"{part} code"] = torch.from_numpy(lengths[:last].copy())
    return parts, {"index": len(at), "gaps": len(gaps), "width": width}


def _gaps(at: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return symbols: n below ``most`` skips n zeros before a weight, ``most`` skips as many without one."""
    skipped = np.diff(at, prepend=-1) - 1
    long = skipped // most
    gaps = np.full(int(long.sum()) + len(at), most, dtype=np.int64)
    gaps[(long + 1).cumsum() - 1] = skipped % most
    return gaps


def _decoded(name: str, want: Tensor, parts: Mapping[str, Tensor | None], fact: Mapping[str, Any]) -> Tensor:
    numbers, width = parts["numbers"], fact.get("width")
    if numbers is None or numbers.dtype != want.dtype or numbers.dim() != 1 or width not in (5, 8):
        raise IsopruneError(f"{name} has no shared numbers")
    found = {}
    for part, most in (("index", len(numbers)), ("gaps", 2**width)):
        packed, code, number = parts[part], parts[f"{part} code"], fact.get(part)
        good = all(t is not None and t.dtype == torch.uint8 and t.dim() == 1 for t in (packed, code))
        if not good or type(number) is not int or not 0 <= number <= want.numel():
            raise IsopruneError(f"{name} has no code of {part}")
        assert packed is not None
        assert code is not None
        if len(code) > most:
            raise IsopruneError(f"{name} has a code of {part} for {len(code)} symbols, more than {most}")
        try:
            found[part] = huffman.decode(packed.numpy(), code.numpy(), number)
        except IsopruneError as error:
            raise IsopruneError(f"{name}: of its {part}, {error}") from None
    gaps, skip = found["gaps"], 2**width - 1
    ends = np.where(gaps == skip, skip, gaps + 1).cumsum() - 1
    at = ends[gaps != skip]
    if len(at) != len(found["index"]) or (len(ends) and (ends[-1] >= want.numel() or gaps[-1] == skip)):
        raise IsopruneError(f"{name}: its places are not those of its weights")
    flat = torch.zeros(want.numel(), dtype=want.dtype)
    flat[torch.from_numpy(at)] = numbers[torch.from_numpy(found["index"])]
    return flat.reshape(want.shape)


def _facts(content: bytes) -> Mapping[str, Any]:
    try:
        head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        facts = json.loads(head["facts"]) if head["format"] == FORMAT else None
    except (ValueError, KeyError, TypeError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise IsopruneError("it was not written by isoprune.compress")
    return facts


def _seen(fact: Any) -> str:
    return f"{fact.get('shape')} of {fact.get('dtype')}"[:100] if isinstance(fact, dict) else "no tensor"
