"""Sizes of modules in a file: read back, they are accepted only where the tensors' shapes confirm them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

import torch
from torch import nn

from isoprune.graph.cloning import named_modules, tensor_names
from isoprune.pruning.attributes import follow_shapes
from isoprune.pruning.size_attributes import scales_of
from isoprune.types.errors import IsopruneError

Sizes = int | float | list[int]
Shape = tuple[int, ...]

# Of torch's own layers: what shrinking changes and the shapes of their tensors alone do not say.
_COUNTS = frozenset({"num_heads", "head_dim", "num_groups", "groups", "unflattened_size"})
# Without weights of its own a layer's width is not in its tensors.
_WIDTHS = frozenset({"normalized_shape", "num_features", "num_channels", "num_parameters"})
# What `follow_shapes` says of them.
_FOLLOWING = (
    *(
        "in_features",
        "out_features",
        "in_channels",
        "out_channels",
        "embed",
        "num_embeddings",
        "kdim",
        "vdim",
    ),
    *("input_size", "hidden_size", "proj_size"),
)
# Whatever a class calls so, it is not how many channels there are.
_NEVER = frozenset(
    {"stride", "padding", "dilation", "kernel_size", "output_padding", "num_layers", "depth", "patch_size"}
)


def shapes_of(model: nn.Module) -> dict[str, Shape]:
    """Return the shape of every parameter and buffer."""
    return {name: tuple(t.shape) for name, t in tensor_names(model).values()}


def sizes_of(module: nn.Module) -> dict[str, Sizes]:
    """Return the public attributes that are integers or sequences of them, and the scales that follow one."""
    sizes = {
        name: value if type(value) is int else list(value)
        for name, value in vars(module).items()
        if not name.startswith("_") and is_size(value)
    }
    return sizes | scales_of(module)


def is_size(value: Any) -> bool:
    # Exact types: True is an int too, and a namedtuple is not rebuilt from its items.
    if type(value) in (tuple, list, torch.Size):
        return bool(value) and all(type(v) is int for v in value)
    return type(value) is int


def restore_sizes_(
    model: nn.Module, sizes: Mapping[str, Mapping[str, Sizes]], dense: Mapping[str, Shape]
) -> None:
    """Set the sizes of a network whose tensors are small already.

    Those of torch's layers follow from the tensors; others must have become smaller as a tensor did.

    Args:
        model: Changed, unless this raises.
        sizes: Module -> attribute -> value, out of a file.
        dense: The shapes that the tensors of ``model`` had before.

    Raises:
        IsopruneError: For a size that shrinking would not have set.
    """
    modules, shrunk = dict(named_modules(model)), set(_shrunk(dense, shapes_of(model)))
    changes: list[tuple[nn.Module, str, Any]] = []
    for where, attributes in sizes.items():
        module = modules.get(where)
        for name, value in attributes.items():
            old = None if module is None else vars(module).get(name)
            if module is None or not _alike(old, value):
                raise IsopruneError(f"build() has no size {where}.{name} like {value!r:.60}")
            new = tuple(value) if isinstance(value, list) and isinstance(old, tuple) else value
            if new == old:
                continue
            if isinstance(new, float):
                right = name in scales_of(module) and _is_scale(new, attributes)
            else:
                right = _follows(module, name) or _borne_out(module, name, old, new, shrunk)
            if not right:
                raise IsopruneError(
                    f"{where}.{name} is {value!r:.60} in the file and {old!r:.60} in build(), and no tensor "
                    "became smaller by that"
                )
            changes.append((module, name, new))
    for module, name, new in changes:
        setattr(module, name, new)
    follow_shapes(model)
    for module, name, new in changes:
        if getattr(module, name) != new:
            raise IsopruneError(
                f"{type(module).__name__}.{name} is {new!r:.60} in the file, and its tensors say "
                f"{getattr(module, name)!r:.60}"
            )


def _alike(old: Any, value: Sizes) -> bool:
    """Whether a value is of the kind that an attribute has: one number, or as many whole ones."""
    if isinstance(value, float):
        return type(old) is float
    if isinstance(value, int) or not isinstance(old, list | tuple):
        return type(old) is int and type(value) is int
    return len(old) == len(value) > 0 and all(type(v) is int for v in (*old, *value))


def _follows(module: nn.Module, name: str) -> bool:
    """Whether `follow_shapes` sets a size, so that it is compared with the tensors afterwards."""
    return _is_torchs(module) and name.startswith(_FOLLOWING)


def _is_scale(value: float, sizes: Mapping[str, Sizes]) -> bool:
    """Whether a number is 1 / sqrt of a size that the same module was given, as attention scales by it."""
    return any(isinstance(n, int) and n > 0 and value == n**-0.5 for n in sizes.values())


def _is_torchs(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def _borne_out(module: nn.Module, name: str, old: Any, new: Any, shrunk: Set[tuple[int, int]]) -> bool:
    """Whether some tensor became smaller as a module's size did; it need not be the module's own."""
    if name in _NEVER or (_is_torchs(module) and name not in _COUNTS | _WIDTHS):
        return False
    pairs = zip([old], [new], strict=True) if isinstance(old, int) else zip(old, new, strict=True)
    changed = [(a, b) for a, b in pairs if a != b]
    return all(0 < b < a and any(_same_way(a, b, d, s) for d, s in shrunk) for a, b in changed)


def _same_way(before: int, after: int, dense: int, small: int) -> bool:
    """Whether two sizes shrank by the same part, or by the same number."""
    return after == before * small // dense or before - after == dense - small


def _shrunk(dense: Mapping[str, Shape], small: Mapping[str, Shape]) -> Iterator[tuple[int, int]]:
    for name, shape in dense.items():
        yield from ((d, s) for d, s in zip(shape, small.get(name, ()), strict=False) if s < d)
