from __future__ import annotations

import hashlib
import importlib
import os
import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from sklearn.datasets import load_digits

from isoprune.data import DATA_SETS, load
from isoprune.data.mnist import FILES, find
from isoprune.types import IsopruneError

from .idx_files import idx_bytes, tiny_set, write_set

# Not `from isoprune.data import fashion_mnist`: that name is the function.
fashion_mnist_module = importlib.import_module("isoprune.data.mnist")


@pytest.fixture
def no_debian(monkeypatch, tmp_path):
    monkeypatch.setattr(fashion_mnist_module, "DEBIAN", tmp_path / "no such package")


def parts(splits):
    return splits.train, splits.validation, splits.test


def test_digits_are_those_of_scikit_learn_each_in_one_split():
    splits = load("digits", seed=0, size=8)
    assert [len(part) for part in parts(splits)] == [1293, 144, 360]
    rows = [
        np.r_[label, pixels]
        for part in parts(splits)
        for label, pixels in zip(
            part.targets.numpy(),
            (part.inputs * 0.3761 + 0.3056).mul(16).round().flatten(1).numpy(),
            strict=True,
        )
    ]
    pixels, labels = load_digits(return_X_y=True)
    assert sorted(map(tuple, rows)) == sorted(map(tuple, np.c_[labels, pixels]))


def test_digits_are_normalised_over_what_is_not_test():
    splits = load("digits", seed=0, size=8)
    seen = torch.cat([splits.train.inputs, splits.validation.inputs])
    assert abs(seen.mean().item()) < 1e-3
    assert abs(seen.std().item() - 1) < 1e-3


def test_the_seed_moves_validation_and_not_test():
    a, b, again = (load("digits", seed=seed) for seed in (0, 1, 0))
    assert torch.equal(a.test.inputs, b.test.inputs)
    assert not torch.equal(a.validation.inputs, b.validation.inputs)
    for one, other in zip(parts(a), parts(again), strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)


def test_fashion_mnist_is_the_published_one():
    if find(fashion_mnist_module.DEBIAN) is None:
        if os.environ.get("CI"):
            pytest.fail("In CI the real data must be there: apt install dataset-fashion-mnist")
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    splits = load("fashion_mnist", seed=0, validation=6000, size=28)
    assert [len(part) for part in parts(splits)] == [54_000, 6_000, 10_000]
    assert splits.in_shape == (1, 28, 28)
    seen = torch.cat([splits.train.targets, splits.validation.targets])
    assert seen.bincount().tolist() == [6000] * 10
    assert splits.test.targets.bincount().tolist() == [1000] * 10
    assert splits.test.targets[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    means = [(p.inputs.mean().item(), p.inputs.square().mean().item()) for p in parts(splits)[:2]]
    # Together they are the published training part, of which the constants are mean and deviation.
    assert abs(0.9 * means[0][0] + 0.1 * means[1][0]) < 1e-3
    assert abs(0.9 * means[0][1] + 0.1 * means[1][1] - 1) < 1e-3


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(("name", "below"), [("mnist", "MNIST/raw"), ("fashion_mnist", "FashionMNIST/raw")])
def test_the_mnists_are_read_from_the_root(tmp_path, name, below, zipped):
    write_set(tmp_path / below, tiny_set(), zipped=zipped)
    splits = load(name, seed=0, root=tmp_path, validation=8)
    assert [len(part) for part in parts(splits)] == [32, 8, 12]
    assert splits.in_shape == (1, 32, 32)
    assert splits.classes == 4


def test_the_root_comes_before_debians_package(tmp_path, monkeypatch):
    write_set(tmp_path / "debian", tiny_set(test=20), zipped=True)
    monkeypatch.setattr(fashion_mnist_module, "DEBIAN", tmp_path / "debian")
    assert len(load("fashion_mnist", seed=0, root=tmp_path).test) == 20
    write_set(tmp_path / "FashionMNIST/raw", tiny_set(test=12))
    assert len(load("fashion_mnist", seed=0, root=tmp_path).test) == 12


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_mnists_are_downloaded_where_they_are_missing(tmp_path, monkeypatch, no_debian, name):
    monkeypatch.setenv("ISOPRUNE_DATA", str(tmp_path))
    written = dict(zip([f"{f}.gz" for f in FILES], tiny_set(), strict=True))

    def fake(url, *, download_root, filename, md5):
        Path(download_root, filename.removesuffix(".gz")).write_bytes(idx_bytes(written[filename]))

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fake)
    first = load(name, seed=0)
    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", _offline)
    again = load(name, seed=0)
    assert torch.equal(first.train.inputs, again.train.inputs)


def _offline(*_, **__):
    raise URLError("Temporary failure in name resolution")


@pytest.mark.parametrize(
    ("name", "where", "file"),
    [
        ("mnist", "MNIST/raw", "train-images-idx3-ubyte"),
        ("fashion_mnist", "FashionMNIST/raw", "t10k-labels-idx1-ubyte"),
        ("cifar10", "cifar-10-batches-py", "data_batch_5"),
        ("cifar100", "cifar-100-python", "test"),
    ],
)
def test_offline_the_error_says_which_files_go_where(tmp_path, monkeypatch, no_debian, name, where, file):
    for module in (torchvision.datasets.mnist, torchvision.datasets.cifar):
        monkeypatch.setattr(module, "download_and_extract_archive", _offline)
    with pytest.raises(IsopruneError, match=r"cannot be downloaded: .*Temporary failure") as caught:
        load(name, seed=0, root=tmp_path)
    message = str(caught.value)
    assert str(tmp_path / where) in message
    assert file in message
    assert "ISOPRUNE_DATA" in message
    assert ("dataset-fashion-mnist" in message) == (name == "fashion_mnist")


@pytest.fixture(params=["cifar10", "cifar100"])
def tiny_cifar(request, tmp_path, monkeypatch):
    """A CIFAR of 20 images per file in the published layout, and its checksums in torchvision."""
    data_set = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[
        request.param
    ]
    labels = {"cifar10": "labels", "cifar100": "fine_labels"}[request.param]
    directory = tmp_path / data_set.base_folder
    directory.mkdir()
    random = np.random.default_rng(0)
    images = {}

    def write(name, content):
        (directory / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((directory / name).read_bytes()).hexdigest()]

    def batch(name):
        images[name] = random.integers(0, 256, (20, 3072), dtype=np.uint8)
        return write(name, {"data": images[name], labels: [i % 5 for i in range(20)]})

    monkeypatch.setattr(data_set, "train_list", [batch(name) for name, _ in data_set.train_list])
    monkeypatch.setattr(data_set, "test_list", [batch(name) for name, _ in data_set.test_list])
    name, checksum = write(data_set.meta["filename"], {data_set.meta["key"]: list("abcde")})
    monkeypatch.setattr(data_set, "meta", {**data_set.meta, "filename": name, "md5": checksum})
    return request.param, tmp_path, data_set, images


def test_cifar_is_read_channel_by_channel(tiny_cifar):
    name, root, data_set, images = tiny_cifar
    splits = load(name, seed=0, root=root, validation=5)
    assert splits.in_shape == (3, 32, 32)
    assert splits.classes == 5
    (file, _), *_ = data_set.test_list
    # A row of the file is the red plane, then green, then blue.
    planes = torch.from_numpy(images[file]).view(20, 3, 32, 32).float() / 255
    mean, std = {
        "cifar10": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    }[name]
    want = torch.stack([(planes[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)
    torch.testing.assert_close(splits.test.inputs, want)


def test_cifar_is_cropped_and_mirrored_only_when_asked_and_only_in_training(tiny_cifar):
    name, root, _, _ = tiny_cifar
    plain = load(name, seed=0, root=root, validation=5)
    changed = load(name, seed=0, root=root, validation=5, augment=True)
    assert [p.augment is None for p in parts(plain)] == [True] * 3
    assert [p.augment is None for p in parts(changed)] == [False, True, True]
    assert torch.equal(plain.train.inputs, changed.train.inputs)
    whole = [torch.arange(len(plain.train))]
    ((before, _),), ((after, _),) = (s.train.batches(whole, seeds=[1]) for s in (plain, changed))
    assert torch.equal(before, plain.train.inputs)
    # Black, before it is normalised, has come in from the sides.
    mean, std = {"cifar10": (0.485, 0.229), "cifar100": (0.5071, 0.2675)}[name]
    assert torch.isclose(after[:, 0, 0, 0], torch.tensor(-mean / std)).any()
    assert not torch.equal(after, before)


def test_a_changed_cifar_file_is_named(tiny_cifar):
    name, root, data_set, _ = tiny_cifar
    path = root / data_set.base_folder / data_set.train_list[0][0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IsopruneError, match=r"is corrupt or cut short: its checksum .* Delete it") as caught:
        load(name, seed=0, root=root)
    assert str(path) in str(caught.value)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(
        IsopruneError, match=r"Unknown data set 'fashion-mnist'\. Did you mean 'fashion_mnist'\?"
    ):
        load("fashion-mnist", seed=0)
    with pytest.raises(
        IsopruneError, match=r"Unknown option 'sise' of data set 'digits'\. Did you mean 'size'"
    ):
        load("digits", seed=0, sise=8)
    assert [*DATA_SETS] == ["digits", "fashion_mnist", "mnist", "cifar10", "cifar100", "image_folder"]
