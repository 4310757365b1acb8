"""Digits: 1,797 grey images of handwritten digits, 8 x 8, embedded in scikit-learn; needs no network."""

from __future__ import annotations

from pathlib import Path

import torch

from isoprune.data.splits import make_splits
from isoprune.types import Splits
from isoprune.types.seeded import seeded

# scikit-learn publishes no split. Always the same 360 images, whatever the experiment's seed,
# so that test accuracies of different seeds are about the same images.
TEST = 360


def digits(
    root: Path | None = None,  # noqa: ARG001  every data set takes it; these images come with scikit-learn
    *,
    seed: int,
    validation: float | int = 0.1,
    limit: int | None = None,
    size: int = 32,
) -> Splits:
    """Return scikit-learn's digits; options as in ``load``, ``root`` is not used."""
    from sklearn.datasets import load_digits  # slow to import

    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).to(torch.uint8).view(-1, 1, 8, 8)
    targets = torch.from_numpy(labels)
    order = torch.randperm(len(targets), generator=seeded(0))
    test, train = order[:TEST], order[TEST:]
    return make_splits(
        "digits",
        (images[train], targets[train]),
        (images[test], targets[test]),
        # Over all pixels of the 1,437 images that are not test.
        mean=(0.3056,),
        std=(0.3761,),
        white=16,
        seed=seed,
        validation=validation,
        limit=limit,
        size=size,
    )
