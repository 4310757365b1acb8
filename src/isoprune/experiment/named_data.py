"""Data by their name: a data set, a folder of images, a network's own inputs, or noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from isoprune.data import DATA_SETS
from isoprune.data.images import images_below
from isoprune.data.preprocessing import preprocessing, timm_options
from isoprune.experiment.choice import Choice, choice, read_choice
from isoprune.experiment.named_network import NamedNetwork
from isoprune.experiment.seeds import SeededBatches, jsv_inputs
from isoprune.experiment.signatures import bind, complete
from isoprune.experiment.trusted_names import trusted
from isoprune.isometry.effort import SAMPLES
from isoprune.isometry.function import sample_function
from isoprune.types import Batches, Samples, Splits
from isoprune.types.data import Preprocessing
from isoprune.types.errors import IsopruneError, one_line
from isoprune.types.seeded import seeded

LEAST_TRAIN = 1000  # enough to hold two classes, which every data set insists on
IN_MEMORY = DATA_SETS.keys() - {"image_folder"}  # that one may be smaller, and reads what is asked for only
RANDOM, EXAMPLE = "random", "example"


@dataclass(frozen=True)
class Inputs:
    """``measured``: one batch, whose targets are not read. ``training``: what repairs may look at.

    ``validation``: labelled samples; None: there are no labels, and the targets of the others are zeros.
    """

    measured: list[tuple[Any, Tensor]]
    training: Batches
    description: str
    validation: Samples | None = None


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
    if (images := images_in(text)) is not None and (is_folder(text) or not _has_classes(images)):
        return _plain_images(images, network, count, seed)
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
        raise IsopruneError(
            f"{label} does not take {data.description} (shape {', '.join(shapes)}): {one_line(error, 150)}. "
            "Give --data that fits; a data set's images are brought to size by --data '{name = \"digits\", "
            "size = 28}'."
        ) from error


def _whole(inputs: Any, description: str) -> Inputs:
    count = next(len(t) for t in pytree.tree_leaves(inputs) if isinstance(t, Tensor) and t.ndim)
    batch = (inputs, torch.zeros(count, dtype=torch.long))
    return Inputs([batch], [batch], description)


def _random(network: NamedNetwork, samples: int, seed: int) -> Any:
    if network.inputs is None and network.facts is None:
        raise IsopruneError(f"{network.label} does not say what its forward takes. Give --shape 1,3,224,224.")
    generator = seeded(seed)

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
        splits.validation,
    )


def named_data(text: str | None, network: NamedNetwork) -> Choice:
    """Return the labelled data that ``text`` names, complete: a data set, or a folder of one folder a class.

    None: the data set that a network of the store was trained on. A folder's images get the network's size.

    Raises:
        IsopruneError: If there is none of that name, or an option is not its own.
    """
    if text is None and network.facts is not None:
        return trusted("data", choice(network.facts["config"]["data"], "data"), network.label)
    if (images := images_in(text)) is not None:
        takes = partial(image_shape, network, str(text))
        return complete("data", images_of(images, takes, network.label, network.preprocessing), "--data")
    return complete("data", read_choice(text or "", "--data", '{name = "digits", size = 8}'), "--data")


def images_in(text: str | None) -> Choice | None:
    """Return the folder of images that ``text`` names, alone or with options; None if it is other data."""
    if is_folder(text):
        return Choice("image_folder", {"root": text})
    if text is None or not text.startswith("{"):
        return None
    chosen = read_choice(text, "--data", '{root = "photos", size = 224}')
    return chosen if chosen.name == "image_folder" and chosen.options.get("root") else None


def _has_classes(images: Choice) -> bool:
    """Whether a folder holds folders, as labelled images do."""
    root = Path(str(images.options["root"])).expanduser()
    return not root.is_dir() or any(at.is_dir() and at.name[0] != "." for at in root.iterdir())


def _plain_images(images: Choice, network: NamedNetwork, samples: int, seed: int) -> Inputs:
    root = str(images.options["root"])
    shape = image_shape(network, root)
    if set(images.options) == {"root"}:
        own = known_options(network.preprocessing, root)
    else:
        own = {key: value for key, value in images.options.items() if key not in ("root", "on_error")}
    names = signature(preprocessing).parameters
    if odd := [key for key in own if key not in names]:
        raise IsopruneError(f"{root} has no folders of classes, which {odd[0]} is of. Leave it out.")
    size = {"size": min(shape[1:]), "channels": shape[0]}
    how = preprocessing(**{**size, **own})[0] if own else None
    where, on_error = Path(root).expanduser(), str(images.options.get("on_error", "raise"))
    found = images_below(where, shape, samples=samples, seed=seed, on_error=on_error, how=how)
    cut = "x".join(map(str, found.shape[1:]))
    return _whole(found, f"images of {root}, cut to {cut} and normalised")


def known_options(how: Preprocessing | None, root: str) -> dict[str, Any]:
    """Return the options of `image_folder` for what a network is known to take.

    Raises:
        IsopruneError: If a file says that a function makes its inputs, which is then for the user to name.
    """
    if how is None:
        return {}
    if how.transform is None:
        return {key: value for key, value in asdict(how).items() if value is not None}
    if not how.transform.startswith("timm:"):
        raise IsopruneError(
            f"The network says that {how.transform!r:.120} makes its inputs. A file may come from anybody, "
            "so that is not called. If you know that function, name it yourself: "
            f'--data \'{{root = "{root}", transform = "{how.transform:.120}"}}\''
        )
    # The size is the network's own, which the user may have given another shape.
    options = timm_options(how.transform.removeprefix("timm:"))
    return {key: value for key, value in options.items() if key not in ("size", "channels")}


def images_of(
    images: Choice, takes: Callable[[], Sequence[int]], network: str, how: Preprocessing | None = None
) -> Choice:
    """Return the labelled images of a folder as a network takes them.

    Args:
        images: With what the user says of them.
        takes: Gives channels, height and width; asked where the user says neither size nor a transform.
        how: What the network is known to take; it counts where the user says nothing but the folder.

    Raises:
        IsopruneError: If these are no squares.
    """
    options = dict(images.options)
    if set(options) == {"root"}:
        options |= known_options(how, str(options["root"]))
    if "transform" in options or {"size", "channels"} <= options.keys():
        return Choice(images.name, options)
    channels, height, width = takes()
    if height != width and "size" not in options:
        raise IsopruneError(
            f"{network} takes images of {height} x {width} pixels, and image_folder gives squares. Give "
            "--shape, or a data set of your own: --data my_package.module:function."
        )
    return Choice(images.name, {"size": height, "channels": channels, **options})


def is_folder(text: str | None) -> bool:
    return text is not None and text not in DATA_SETS and Path(text).is_dir()


def load_splits(data: Choice, network: NamedNetwork, *, seed: int) -> Splits:
    """Return the splits; those of a network of the store are cut by its own seed.

    Raises:
        IsopruneError: If they cannot be read, or the network takes inputs of another shape.
    """
    facts = network.facts
    splits = bind("data", data)(seed=seed if facts is None else facts["config"]["seed"])
    if facts is not None and list(splits.in_shape) != facts["in_shape"]:
        raise IsopruneError(
            f"--data {data.name} has inputs of shape {splits.in_shape}, the network takes "
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
