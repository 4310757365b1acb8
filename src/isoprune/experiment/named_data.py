"""Data by their name: a data set, a folder of images, a network's own inputs, or noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils import _pytree as pytree

from isoprune.data import DATA_SETS
from isoprune.data.images import images_below
from isoprune.experiment.choice import Choice, choice, read_choice
from isoprune.experiment.named_network import NamedNetwork
from isoprune.experiment.seeds import SeededBatches, jsv_inputs
from isoprune.experiment.signatures import bind, complete
from isoprune.experiment.trusted_names import trusted
from isoprune.isometry.effort import SAMPLES
from isoprune.isometry.function import sample_function
from isoprune.types import Batches, Splits
from isoprune.types.errors import IsopruneError

LEAST_TRAIN = 1000  # enough to hold two classes, which every data set insists on
IN_MEMORY = DATA_SETS.keys() - {"image_folder"}  # that one may be smaller, and reads what is asked for only
RANDOM, EXAMPLE = "random", "example"


@dataclass(frozen=True)
class Inputs:
    """``measured``: one batch, whose targets are not read. ``training``: what repairs may look at."""

    measured: list[tuple[Any, Tensor]]
    training: Batches
    description: str


def open_inputs(text: str | None, network: NamedNetwork, *, samples: int | None, seed: int) -> Inputs:
    """Return the inputs that ``text`` names: a data set, a folder of images, "example" or "random".

    Args:
        text: None: the data set that a network of the store was trained on.
        samples: None: 64 (the measurement may take fewer of them).

    Raises:
        IsopruneError: If there is no such data, or nothing says which.
    """
    count = SAMPLES if samples is None else samples
    if text == RANDOM:
        return _whole(_random(network, count, seed), "random inputs, which say little about your task")
    if text == EXAMPLE:
        if not network.own_inputs:
            raise IsopruneError(
                f"--data {EXAMPLE} means the inputs that your own function returns beside its network; "
                f"{network.label} has none. Give a data set, a folder of images, or --data {RANDOM}."
            )
        return _whole(network.inputs, "the inputs that its function returns")
    if text is not None and is_folder(text):
        images = images_below(Path(text), image_shape(network, text), samples=count, seed=seed)
        size = "x".join(map(str, images.shape[1:]))
        return _whole(images, f"images of {text}, cut to {size} and normalised")
    if text is None and network.facts is None:
        raise IsopruneError(
            f"Say what to measure {network.label} on: --data with a data set ({', '.join(DATA_SETS)}), a "
            f"folder of images, my_package.module:function, {EXAMPLE} (what your function returns beside the "
            f"network), or {RANDOM} (noise, which says little about your task)."
        )
    return _data_set(text, network, count, seed)


def require_fit(model: nn.Module, data: Inputs, label: str, **where: Any) -> None:
    """Raise in one line if the network's forward does not take the inputs."""
    one = pytree.tree_map_only(Tensor, lambda t: t[:1] if t.ndim else t, data.measured[0][0])
    try:
        with sample_function(model, one, **where):
            pass
    except IsopruneError:
        raise
    except Exception as error:
        shapes = [str(tuple(t.shape)) for t in pytree.tree_leaves(one) if isinstance(t, Tensor)]
        line = " ".join(str(error).split())[:150]
        raise IsopruneError(
            f"{label} does not take {data.description} (shape {', '.join(shapes)}): {line}. Give --data that "
            "fits; a data set's images are brought to size by --data '{name = \"digits\", size = 28}'."
        ) from error


def _whole(inputs: Any, description: str) -> Inputs:
    count = next(len(t) for t in pytree.tree_leaves(inputs) if isinstance(t, Tensor) and t.ndim)
    batch = (inputs, torch.zeros(count, dtype=torch.long))
    return Inputs([batch], [batch], description)


def _random(network: NamedNetwork, samples: int, seed: int) -> Any:
    if network.inputs is None and network.facts is None:
        raise IsopruneError(f"{network.label} does not say what its forward takes. Give --shape 1,3,224,224.")
    generator = Generator().manual_seed(seed)

    def draw(t: Tensor) -> Tensor:
        if t.is_floating_point():
            return torch.randn(samples, *t.shape[1:], generator=generator).to(t.dtype)
        # Words: any of those that the example holds, whose range the network is known to take.
        low, high = int(t.min()), int(t.max())
        return torch.randint(low, high + 1, (samples, *t.shape[1:]), generator=generator).to(t.dtype)

    like = network.inputs if network.facts is None else torch.empty(1, *network.facts["in_shape"])
    return pytree.tree_map_only(Tensor, draw, like)


def _data_set(text: str | None, network: NamedNetwork, samples: int, seed: int) -> Inputs:
    chosen = named_data(text, network)
    if chosen.options.get("limit", 0) is None and chosen.name in IN_MEMORY:
        # A thousand training images are enough to try a repair: the others need not be brought to size.
        chosen = Choice(chosen.name, {**chosen.options, "limit": LEAST_TRAIN})
    splits = load_splits(chosen, network, seed=seed)
    if network.facts is not None:
        seed = network.facts["config"]["seed"]
    inputs = jsv_inputs(splits.validation, samples, seed=seed)
    return Inputs(
        [(inputs, splits.validation.targets[: len(inputs)])],
        SeededBatches(splits.train, 100, seed, most=LEAST_TRAIN // 100),
        f"validation images of {chosen.name}",
    )


def named_data(text: str | None, network: NamedNetwork) -> Choice:
    """Return the labelled data that ``text`` names, complete: a data set, or a folder of one folder a class.

    None: the data set that a network of the store was trained on. A folder's images get the network's size.

    Raises:
        IsopruneError: If there is none of that name, or an option is not its own.
    """
    if text is None and network.facts is not None:
        return trusted("data", choice(network.facts["config"]["data"], "data"), network.label)
    if text is not None and is_folder(text):
        return complete("data", images_of(text, image_shape(network, text), network.label), "--data")
    return complete("data", read_choice(text or "", "--data", '{name = "digits", size = 8}'), "--data")


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


def load_splits(chosen: Choice, network: NamedNetwork, *, seed: int) -> Splits:
    """Return the splits; those of a network of the store are cut by its own seed.

    Raises:
        IsopruneError: If they cannot be read, or the network takes inputs of another shape.
    """
    facts = network.facts
    splits = bind("data", chosen)(seed=seed if facts is None else facts["config"]["seed"])
    if facts is not None and list(splits.in_shape) != facts["in_shape"]:
        raise IsopruneError(
            f"--data {chosen.name} has inputs of shape {splits.in_shape}, the network takes "
            f"{tuple(facts['in_shape'])}. Leave out --data to use the data that it was trained on."
        )
    return splits


def image_shape(network: NamedNetwork, text: str) -> tuple[int, int, int]:
    """Return channels, height and width of the images that the network takes."""
    example: Any = network.inputs
    shape = tuple(network.facts["in_shape"]) if network.facts else ()
    tensors = [t for t in pytree.tree_leaves(example) if isinstance(t, Tensor)]
    if len(tensors) == 1:
        shape = tuple(tensors[0].shape[1:])
    if len(shape) != 3:
        raise IsopruneError(
            f"--data {text} holds images, and {network.label} does not take one image a sample. Give --shape "
            "1,3,224,224 if it does, or other data."
        )
    return shape
