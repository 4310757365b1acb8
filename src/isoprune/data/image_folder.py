"""Images in folders of their classes: ImageNet's layout, or one folder a class."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor

from isoprune.data.image_files import ImageFiles, readers
from isoprune.data.preprocessing import preprocessing
from isoprune.data.readable import SUFFIXES, images_in, require_readable
from isoprune.data.splits import random_part, require_two_classes, split_indices
from isoprune.types import IsopruneError, Splits

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
    resize: int | None = None,
    crop: float | None = None,
    interpolation: str = "bilinear",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    transform: str | None = None,
    on_error: str = "raise",
    workers: int | None = None,
) -> Splits:
    """Return the images of ``root``, in ``train/CLASS`` and ``val/CLASS`` or in ``CLASS``; read when wanted.

    Measured is the middle square of 7/8 of the shorter side, brought to ``size`` x ``size``; with ``augment``
    a training batch has random parts, mirrored half of the time. Colour is normalised by ImageNet's mean and
    deviation, grey to [-1, 1]. Where your network saw images otherwise, say how: its accuracy depends on it.

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
        resize: Pixels of the shorter side before the middle is cut out (8/7 of ``size``).
        crop: In its place, the part of the shorter side that stays, as timm's crop_pct.
        interpolation: nearest, bilinear, bicubic, box, hamming or lanczos.
        mean: Of [0, 1], a number a channel, that is taken off (ImageNet's).
        std: What the rest is divided by.
        transform: "my_package.module:function" for all of it: it takes a Pillow image and gives the input, or
            takes nothing and returns such a transform. Or "timm:NAME": as timm's network was trained.
        on_error: "raise", or "skip" images that cannot be read.
        workers: How many threads read; None is ``$ISOPRUNE_WORKERS``, else one a core. Changes no bit,
            unless ``transform`` draws random numbers, which nothing seeds.

    Raises:
        IsopruneError: If there is no such folder, it has fewer than two classes, a test part has a class of
            its own, a cut leaves a split empty, or images cannot be read (all of them are named; in more than
            128 MiB only those whose header says so).
    """
    if root is None:
        raise IsopruneError(
            'image_folder needs a root: data = {name = "image_folder", root = "path/of/the/images"}.'
        )
    if size < 1 or channels not in (1, 3):
        raise IsopruneError(
            f"size = {size}, channels = {channels}: size may be 1 or more, channels 3 (colour) or 1 (grey)."
        )
    how, size = preprocessing(
        size,
        channels,
        resize=resize,
        crop=crop,
        interpolation=interpolation,
        mean=mean,
        std=std,
        transform=transform,
    )
    root, threads = Path(root).expanduser().absolute(), readers(workers)
    train_at, test_at = _parts(root)
    names = _classes(train_at)
    bad = _unreadable(root, train_at, test_at, on_error)
    files, targets = _images(train_at, names, bad)
    if test_at is None:
        # Always the same images, whatever the experiment's seed.
        tested, kept = random_part(len(files), test, "test", "images", seed=0)
        kept = kept.sort().values
        test_files, test_targets = [files[i] for i in tested.tolist()], targets[tested]
        files, targets = [files[i] for i in kept.tolist()], targets[kept]
    else:
        _require_known(_classes(test_at), names, test_at, train_at)
        test_files, test_targets = _images(test_at, names, bad)
    training, validating = split_indices(len(files), seed=seed, validation=validation, limit=limit)
    require_two_classes(root.name, targets[training])

    def samples(at: Path, files: Sequence[str], targets: Tensor, augment: bool = False) -> ImageFiles:
        return ImageFiles(at, tuple(files), targets, size, channels, augment, threads, how)

    return Splits(
        train=samples(train_at, [files[i] for i in training.tolist()], targets[training], augment),
        validation=samples(train_at, [files[i] for i in validating.tolist()], targets[validating]),
        test=samples(test_at or train_at, test_files, test_targets),
        classes=len(names),
        names=tuple(names),
        preprocessing=how,
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


def _unreadable(root: Path, train_at: Path, test_at: Path | None, on_error: str) -> frozenset[str]:
    parts = [at for at in (train_at, test_at) if at is not None]
    files = [f"{at}{os.sep}{file}" for at in parts for name in _classes(at) for file in _files(at, name)]
    return require_readable(root, files, on_error)


def _images(folder: Path, names: Sequence[str], bad: Collection[str]) -> tuple[list[str], Tensor]:
    """Return all images of the classes, sorted, as paths below ``folder``, and their classes."""
    if len(names) < 2:
        raise IsopruneError(
            f"{folder} has one class only, {names[0]}, and telling classes apart takes two. Add a folder of "
            "images of another class."
        )
    # A class may be one that the test part leaves out.
    found = {name: _files(folder, name) for name in names if (folder / name).is_dir()}
    found = {name: [f for f in files if f"{folder}{os.sep}{f}" not in bad] for name, files in found.items()}
    if empty := [name for name, files in found.items() if not files]:
        hold, them = ("holds", "the folder") if len(empty) == 1 else ("hold", "the folders")
        raise IsopruneError(
            f"{', '.join(str(folder / name) for name in empty)} {hold} no image that can be read "
            f"({', '.join(SUFFIXES)}). Remove {them}, or fill {'it' if len(empty) == 1 else 'them'}."
        )
    targets = [label for label, name in enumerate(names) for _ in found.get(name, ())]
    return [file for files in found.values() for file in files], torch.tensor(targets)


def _files(folder: Path, name: str) -> list[str]:
    """Return the images of a class, sorted, as paths below ``folder``."""
    return [file[len(str(folder)) + 1 :] for file in images_in(folder / name)]
