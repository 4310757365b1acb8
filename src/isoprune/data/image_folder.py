"""Images in folders of their classes: ImageNet's layout, or one folder a class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from isoprune.data.image_files import ImageFiles, readers
from isoprune.data.images import COLOUR, GREY, MARGIN, SUFFIXES
from isoprune.data.splits import apart, cut, require_two_classes
from isoprune.types import IsopruneError, Splits
from isoprune.types.data import Preprocessing

TRAIN = "train"
# ImageNet's labelled test part is called val: it is never trained on, nor is anything chosen by it.
TEST = ("test", "val", "valid", "validation")


def image_folder(
    root: Path | None,
    *,
    seed: int,
    validation: float | int = 0.1,
    test: float | int = 0.1,
    limit: int | None = None,
    size: int = 224,
    channels: int = 3,
    augment: bool = True,
    workers: int | None = None,
) -> Splits:
    """Return the images of ``root``, in ``train/CLASS`` and ``val/CLASS`` or in ``CLASS``; read when wanted.

    Measured is the middle square of 7/8 of the shorter side, brought to ``size`` x ``size``; with ``augment``
    a training batch has random parts, mirrored half of the time. Colour is normalised by ImageNet's mean and
    deviation, grey to [-1, 1].

    Args:
        root: A folder of one folder a class, or one that holds train (and test or val) of that kind.
        seed: Which training images become validation.
        validation: How many of them: a fraction, or a count if it is an integer.
        test: How many become test if there is no test part; always the same, whatever the seed, so that
            test accuracies of different seeds are about the same images.
        limit: Train on so many images only.
        size: Of the square, in pixels.
        channels: 3, or 1 for grey.
        augment: Whether to train on random parts of at least 8 % of the area, aspect 3/4 to 4/3.
        workers: How many threads read; None is ``$ISOPRUNE_WORKERS``, else one a core. Changes no bit.

    Raises:
        IsopruneError: If there is no such folder, it has fewer than two classes, a test part has a class of
            its own, or a cut leaves a split empty. An image that cannot be read is told when it is read.
    """
    if root is None:
        raise IsopruneError(
            'image_folder needs a root: data = {name = "image_folder", root = "path/of/the/images"}.'
        )
    if size < 1 or channels not in (1, 3):
        raise IsopruneError(
            f"size = {size}, channels = {channels}: size may be 1 or more, channels 3 (colour) or 1 (grey)."
        )
    root, threads = Path(root).expanduser().absolute(), readers(workers)
    train_at, test_at = _parts(root)
    names = _classes(train_at)
    files, targets = _images(train_at, names)
    if test_at is None:
        # Always the same images, whatever the experiment's seed.
        tested, kept = apart(len(files), test, "test", "images", seed=0)
        kept = kept.sort().values
        test_files, test_targets = [files[i] for i in tested.tolist()], targets[tested]
        files, targets = [files[i] for i in kept.tolist()], targets[kept]
    else:
        _require_known(_classes(test_at), names, test_at, train_at)
        test_files, test_targets = _images(test_at, names)
    chosen, held = cut(len(files), seed=seed, validation=validation, limit=limit)
    require_two_classes(root.name, targets[chosen])

    def samples(at: Path, files: Sequence[str], targets: Tensor, augment: bool = False) -> ImageFiles:
        return ImageFiles(at, tuple(files), targets, size, channels, augment, threads)

    return Splits(
        train=samples(train_at, [files[i] for i in chosen.tolist()], targets[chosen], augment),
        validation=samples(train_at, [files[i] for i in held.tolist()], targets[held]),
        test=samples(test_at or train_at, test_files, test_targets),
        classes=len(names),
        names=tuple(names),
        preprocessing=Preprocessing(round(MARGIN * size), *(COLOUR if channels == 3 else GREY)),
    )


def _parts(root: Path) -> tuple[Path, Path | None]:
    """Return the folder of the training classes, and that of the test classes if there is one."""
    if not root.is_dir():
        raise IsopruneError(f"No folder {root}. Give root the folder that holds the images' folders.")
    if not _folders(root / TRAIN):  # without folders of its own it is a class that is called train
        if any(_folders(root / name) for name in TEST):
            raise IsopruneError(
                f"{root} has a test part and no {TRAIN} with folders of classes. Put the training images "
                f"into {root / TRAIN}/CLASS, or give root a folder of one folder a class."
            )
        return root, None
    return root / TRAIN, next((root / name for name in TEST if _folders(root / name)), None)


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def _classes(folder: Path) -> list[str]:
    names = _folders(folder)
    if not names:
        raise IsopruneError(
            f"{folder} has no folder, and a class is one: put the images of each class into {folder}/CLASS."
        )
    return names


def _require_known(names: Sequence[str], known: Sequence[str], there: Path, here: Path) -> None:
    new = [name for name in names if name not in set(known)]
    if new:
        more = f" and {len(new) - 1} more" if len(new) > 1 else ""
        raise IsopruneError(
            f"{there} has the class {new[0]}{more}, and {here} does not: nothing could learn it. Take it "
            "out, or add training images of it."
        )


def _images(folder: Path, names: Sequence[str]) -> tuple[list[str], Tensor]:
    """Return all images of the classes, sorted, as paths below ``folder``, and their classes."""
    if len(names) < 2:
        raise IsopruneError(
            f"{folder} has one class only, {names[0]}, and telling classes apart takes two. Add a folder of "
            "images of another class."
        )
    files: list[str] = []
    targets: list[int] = []
    for label, name in enumerate(names):
        if not (folder / name).is_dir():
            continue  # a class that the test part leaves out
        found = []
        for at, folders, inside in os.walk(folder / name, followlinks=True):
            folders[:] = [f for f in folders if not f.startswith(".")]
            below = os.path.relpath(at, folder)
            found += [
                os.path.join(below, f)  # noqa: PTH118  a million Paths would take seconds
                for f in inside
                if f.lower().endswith(SUFFIXES) and not f.startswith(".")
            ]
        if not found:
            raise IsopruneError(
                f"{folder / name} holds no image ({', '.join(SUFFIXES)}). Remove the folder, or fill it."
            )
        files += sorted(found)
        targets += [label] * len(found)
    return files, torch.tensor(targets)
