"""The inputs that `isoprune diagnose` measures on, and those that repairs may look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils import _pytree as pytree

from isoprune.cli.data_choice import chosen_data, image_shape, is_folder, load_splits
from isoprune.cli.diagnose_open import Subject
from isoprune.data import DATA_SETS
from isoprune.data.images import images_below
from isoprune.experiment.config import Choice
from isoprune.experiment.seeds import SeededBatches, jsv_inputs
from isoprune.isometry.effort import SAMPLES
from isoprune.isometry.function import sample_function
from isoprune.types import Batches
from isoprune.types.errors import IsopruneError

LEAST_TRAIN = 1000  # enough to hold two classes, which every data set insists on
IN_MEMORY = DATA_SETS.keys() - {"image_folder"}  # that one may be smaller, and reads what is asked for only
RANDOM, EXAMPLE = "random", "example"


@dataclass(frozen=True)
class Data:
    """``measured``: one batch, whose targets are not read. ``training``: what repairs may look at."""

    measured: list[tuple[Any, Tensor]]
    training: Batches
    told: str


def open_data(text: str | None, subject: Subject, *, samples: int | None, seed: int) -> Data:
    """Return the inputs that ``text`` names: a data set, a folder of images, "example" or "random".

    Args:
        text: None: the data set that a network of the store was trained on.
        samples: None: 64 (the measurement may take fewer of them).

    Raises:
        IsopruneError: If there is no such data, or nothing says which.
    """
    count = SAMPLES if samples is None else samples
    if text == RANDOM:
        return _whole(_random(subject, count, seed), "random inputs, which say little about your task")
    if text == EXAMPLE:
        if not subject.own_inputs:
            raise IsopruneError(
                f"--data {EXAMPLE} means the inputs that your own function returns beside its network; "
                f"{subject.label} has none. Give a data set, a folder of images, or --data {RANDOM}."
            )
        return _whole(subject.inputs, "the inputs that its function returns")
    if text is not None and is_folder(text):
        images = images_below(Path(text), image_shape(subject, text), samples=count, seed=seed)
        size = "x".join(map(str, images.shape[1:]))
        return _whole(images, f"images of {text}, cut to {size} and normalised")
    if text is None and subject.facts is None:
        raise IsopruneError(
            f"Say what to measure {subject.label} on: --data with a data set ({', '.join(DATA_SETS)}), a "
            f"folder of images, my_package.module:function, {EXAMPLE} (what your function returns beside the "
            f"network), or {RANDOM} (noise, which says little about your task)."
        )
    return _data_set(text, subject, count, seed)


def require_fit(network: nn.Module, data: Data, label: str, **where: Any) -> None:
    """Raise in one line if the network's forward does not take the inputs."""
    one = pytree.tree_map_only(Tensor, lambda t: t[:1] if t.ndim else t, data.measured[0][0])
    try:
        with sample_function(network, one, **where):
            pass
    except IsopruneError:
        raise
    except Exception as error:
        shapes = [str(tuple(t.shape)) for t in pytree.tree_leaves(one) if isinstance(t, Tensor)]
        line = " ".join(str(error).split())[:150]
        raise IsopruneError(
            f"{label} does not take {data.told} (shape {', '.join(shapes)}): {line}. Give --data that fits; "
            "a data set's images are brought to size by --data '{name = \"digits\", size = 28}'."
        ) from error


def _whole(inputs: Any, told: str) -> Data:
    count = next(len(t) for t in pytree.tree_leaves(inputs) if isinstance(t, Tensor) and t.ndim)
    batch = (inputs, torch.zeros(count, dtype=torch.long))
    return Data([batch], [batch], told)


def _random(subject: Subject, samples: int, seed: int) -> Any:
    if subject.inputs is None and subject.facts is None:
        raise IsopruneError(f"{subject.label} does not say what its forward takes. Give --shape 1,3,224,224.")
    generator = Generator().manual_seed(seed)

    def draw(t: Tensor) -> Tensor:
        if t.is_floating_point():
            return torch.randn(samples, *t.shape[1:], generator=generator).to(t.dtype)
        # Words: any of those that the example holds, whose range the network is known to take.
        low, high = int(t.min()), int(t.max())
        return torch.randint(low, high + 1, (samples, *t.shape[1:]), generator=generator).to(t.dtype)

    like = subject.inputs if subject.facts is None else torch.empty(1, *subject.facts["in_shape"])
    return pytree.tree_map_only(Tensor, draw, like)


def _data_set(text: str | None, subject: Subject, samples: int, seed: int) -> Data:
    chosen = chosen_data(text, subject)
    if chosen.options.get("limit", 0) is None and chosen.name in IN_MEMORY:
        # A thousand training images are enough to try a repair: the others need not be brought to size.
        chosen = Choice(chosen.name, {**chosen.options, "limit": LEAST_TRAIN})
    splits = load_splits(chosen, subject, seed=seed)
    if subject.facts is not None:
        seed = subject.facts["config"]["seed"]
    inputs = jsv_inputs(splits.validation, samples, seed=seed)
    return Data(
        [(inputs, splits.validation.targets[: len(inputs)])],
        SeededBatches(splits.train, 100, seed, most=LEAST_TRAIN // 100),
        f"validation images of {chosen.name}",
    )
