"""The weights a network starts from: drawn, published, or those of a user's file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from torch import Generator, Tensor, nn

from isoprune.models.draw import Draw, drawn, undrawn
from isoprune.types import IsopruneError

NONE, IMAGENET = "none", "imagenet"
_MARK = "@sha256:"


def started(
    make: Callable[[int], nn.Module],
    classes: int,
    *,
    head: str,
    weights: str,
    generator: Generator | None,
    draw: Draw,
    published: Callable[[], Mapping[str, Tensor]] | None = None,
) -> nn.Module:
    """Return ``make(classes)`` with the weights that ``weights`` names.

    Weights of another number of classes keep all but the layer called ``head``, which is drawn.

    Args:
        make: Number of classes -> network.
        weights: "none" (drawn by ``draw``), "imagenet" (those that ``published`` returns) or the path of a
            .safetensors file, or of one that torch.save wrote and that holds tensors only.

    Raises:
        IsopruneError: If there are no such weights, or they are those of another network.
    """
    if weights == NONE:
        return drawn(lambda: make(classes), generator, draw)
    # They read files as an export does, and come with it; a network that is drawn need not load it.
    from isoprune.export.weights import put_weights_, read_weights

    if weights == IMAGENET:
        if published is None:
            raise IsopruneError(
                'weights = "imagenet": there are no such weights of this network. Give "none", or the '
                "path of a file."
            )
        state, source = published(), "torchvision's file"
    else:
        path = pinned_path(weights)
        state, source = read_weights(path), str(path)
    rows = state.get(f"{head}.weight")
    theirs = classes if rows is None or rows.dim() == 0 else max(len(rows), 1)
    model = undrawn(lambda: make(theirs))
    if generator is not None:
        model.to(generator.device)
    put_weights_(model, state, source)
    if theirs != classes:
        width = cast(nn.Linear, model.get_submodule(head)).in_features
        model.set_submodule(head, drawn(lambda: nn.Linear(width, classes), generator, draw))
    return model


def pin(weights: str) -> str:
    """Return ``weights`` with the digest of the file's content behind its path, "none" and "imagenet" as is.

    An experiment is then named by what it starts from, and goes on to be it when the file is gone: that what
    was pinned is still there is checked when it is read.

    Raises:
        IsopruneError: If there is no such file.
    """
    if weights in (NONE, IMAGENET) or _MARK in weights:
        return weights
    path = pinned_path(weights)
    return f"{path}{_MARK}{_digest(path)}"


def pinned_path(weights: str) -> Path:
    """Return the path in ``weights``, whose file is the pinned one if a digest stands behind it."""
    text, _, digest = weights.partition(_MARK)
    path = Path(text).expanduser()
    if not path.is_file():
        raise IsopruneError(
            f'weights = "{text}": there is no such file. Give "none", "imagenet" (networks of torchvision '
            "only), or the path of a .safetensors file or one that torch.save wrote."
        )
    if digest and digest != _digest(path):
        raise IsopruneError(
            f"{path} has changed: its SHA-256 begins with {_digest(path)}, the experiment started from "
            f"{digest}. Bring the old file back, or leave out {_MARK}{digest} for a new experiment."
        )
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
