"""The data set that --data names: by name or TOML table, a folder of images, or the network's own."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from isoprune.cli.diagnose_open import Subject
from isoprune.data import DATA_SETS
from isoprune.experiment.config import Choice, choice
from isoprune.experiment.signatures import bind, complete
from isoprune.types import Splits
from isoprune.types.errors import IsopruneError


def chosen_data(text: str | None, subject: Subject) -> Choice:
    """Return the data set that ``text`` names, complete; None: the one a network of the store was trained on.

    Raises:
        IsopruneError: If there is none of that name, or an option is not its own.
    """
    if text is None and subject.facts is not None:
        return choice(subject.facts["config"]["data"], "data")
    return complete("data", read_choice(text or "", "--data", '{name = "digits", size = 8}'), "--data")


def chosen_folder(text: str, subject: Subject) -> Choice:
    """Return the labelled images of a folder, at the size that the network takes."""
    return complete("data", images_of(text, image_shape(subject, text), subject.label), "--data")


def images_of(folder: str, takes: Sequence[int], network: str) -> Choice:
    """Return the labelled images of a folder as (channels, height, width) that a network takes.

    Raises:
        IsopruneError: If these are no squares.
    """
    channels, height, width = takes
    if height != width:
        raise IsopruneError(
            f"{network} takes images of {height} x {width} pixels, and image_folder gives squares. Give "
            "--shape, or a data set of your own: --data my_package.module:function."
        )
    return Choice("image_folder", {"root": folder, "size": height, "channels": channels})


def is_folder(text: str | None) -> bool:
    return text is not None and text not in DATA_SETS and Path(text).is_dir()


def load_splits(chosen: Choice, subject: Subject, *, seed: int) -> Splits:
    """Return the splits; those of a network of the store are cut by its own seed.

    Raises:
        IsopruneError: If they cannot be read, or the network takes inputs of another shape.
    """
    facts = subject.facts
    splits = bind("data", chosen)(seed=seed if facts is None else facts["config"]["seed"])
    if facts is not None and list(splits.in_shape) != facts["in_shape"]:
        raise IsopruneError(
            f"--data {chosen.name} has inputs of shape {splits.in_shape}, the network takes "
            f"{tuple(facts['in_shape'])}. Leave out --data to use the data that it was trained on."
        )
    return splits


def read_choice(text: str, flag: str, example: str) -> Choice:
    """Return a choice as the command line spells it: a name, or a TOML table such as ``example``."""
    if not text.startswith("{"):
        return Choice(text)
    try:
        return choice(tomllib.loads(f"value = {text}")["value"], flag)
    except tomllib.TOMLDecodeError:
        raise IsopruneError(
            f"{flag} {text} is not a TOML table. Quote it for the shell: {flag} '{example}'."
        ) from None


def image_shape(subject: Subject, text: str) -> tuple[int, int, int]:
    """Return channels, height and width of the images that the network takes."""
    example: Any = subject.inputs
    shape = tuple(subject.facts["in_shape"]) if subject.facts else ()
    tensors = [t for t in pytree.tree_leaves(example) if isinstance(t, Tensor)]
    if len(tensors) == 1:
        shape = tuple(tensors[0].shape[1:])
    if len(shape) != 3:
        raise IsopruneError(
            f"--data {text} holds images, and {subject.label} does not take one image a sample. Give --shape "
            "1,3,224,224 if it does, or other data."
        )
    return shape
