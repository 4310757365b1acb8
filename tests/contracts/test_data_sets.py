"""What every data set of the table promises, checked on small files in each one's own format."""

from __future__ import annotations

import hashlib
import inspect
import pickle
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from data.idx_files import tiny_set, write_set
from data.painted import folder
from isoprune.data import DATA_SETS, load
from isoprune.types import IsopruneError, Samples, Splits

CIFAR = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}


def _cifar(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write 20 random images a file in the published layout, and say their checksums to torchvision."""
    source, random = CIFAR[name], np.random.default_rng(0)
    (root / source.base_folder).mkdir(parents=True)

    def write(file: str, content: object) -> list[str]:
        path = root / source.base_folder / file
        path.write_bytes(pickle.dumps(content))
        return [file, hashlib.md5(path.read_bytes()).hexdigest()]

    labels = [i % 5 for i in range(20)]

    def batch(file: str) -> list[str]:
        images = random.integers(0, 256, (20, 3072), dtype=np.uint8)
        return write(file, {"data": images, "labels": labels, "fine_labels": labels})

    monkeypatch.setattr(source, "train_list", [batch(file) for file, _ in source.train_list])
    monkeypatch.setattr(source, "test_list", [batch(file) for file, _ in source.test_list])
    file, checksum = write(source.meta["filename"], {source.meta["key"]: list("abcde")})
    monkeypatch.setattr(source, "meta", {**source.meta, "filename": file, "md5": checksum})


@pytest.fixture(params=DATA_SETS)
def data_set(request, tmp_path, monkeypatch):
    """The name of a data set, a folder of its files, and its options."""
    name, root = request.param, tmp_path / "files"
    if name in ("mnist", "fashion_mnist"):
        write_set(root / {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw"}[name], tiny_set())
    elif name in CIFAR:
        _cifar(name, root, monkeypatch)
    elif name == "image_folder":
        folder(root, {"ants": 14, "bees": 14})
    else:
        assert name == "digits"  # embedded in scikit-learn
    return name, root, {"size": 16} if name == "image_folder" else {}


def parts(splits: Splits) -> dict[str, Samples]:
    return {"train": splits.train, "validation": splits.validation, "test": splits.test}


def rows(part: Samples) -> list[bytes]:
    """Return every input's bytes, as they are measured."""
    return [x.numpy().tobytes() for inputs, _ in part.batches([torch.arange(len(part))]) for x in inputs]


def test_no_sample_is_in_two_splits(data_set):
    name, root, options = data_set
    found = [set(rows(part)) for part in parts(load(name, seed=0, root=root, **options)).values()]
    assert all(found)
    assert len(set().union(*found)) == sum(map(len, found))


def test_shapes_labels_and_classes_fit(data_set):
    name, root, options = data_set
    splits = load(name, seed=0, root=root, **options)
    for part in parts(splits).values():
        (inputs, targets), *_ = part.batches([torch.arange(min(3, len(part)))])
        assert tuple(inputs.shape[1:]) == part.in_shape == splits.in_shape
        assert inputs.dtype == torch.float32
        assert torch.isfinite(inputs).all()
        assert torch.equal(targets, part.targets[: len(targets)])
        assert int(part.targets.max()) < splits.classes


def test_the_same_seed_gives_the_same_splits_and_another_moves_validation_alone(data_set):
    name, root, options = data_set
    first, again, other = (load(name, seed=seed, root=root, **options) for seed in (0, 0, 1))
    for one, two in zip(parts(first).values(), parts(again).values(), strict=True):
        assert rows(one) == rows(two)
    assert set(rows(first.validation)) != set(rows(other.validation))
    if name != "image_folder":  # which has no published test part: it is cut by the seed too
        assert rows(first.test) == rows(other.test)


def test_a_limit_cuts_training_alone(data_set):
    name, root, options = data_set
    whole, few = load(name, seed=0, root=root, **options), load(name, seed=0, root=root, limit=8, **options)
    assert len(few.train) == 8
    assert set(rows(few.train)) <= set(rows(whole.train))
    assert rows(few.validation) == rows(whole.validation)
    assert rows(few.test) == rows(whole.test)


def test_files_that_are_missing_are_named_with_the_place(data_set, tmp_path, monkeypatch):
    name, _, options = data_set
    if name == "digits":
        assert "root" in inspect.signature(DATA_SETS[name]).parameters  # taken, and not needed
        return

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    for module in (torchvision.datasets.mnist, torchvision.datasets.cifar):
        monkeypatch.setattr(module, "download_and_extract_archive", offline)
    # By import_module: the dotted name may also mean the function of that name.
    monkeypatch.setattr(import_module("isoprune.data.mnist"), "DEBIAN", tmp_path / "no package")
    with pytest.raises(IsopruneError) as caught:
        load(name, seed=0, root=tmp_path / "nothing here", **options)
    assert str(tmp_path / "nothing here") in str(caught.value)
