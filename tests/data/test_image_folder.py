"""From folders to three disjoint splits."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision import transforms as v1

from isoprune.data import load
from isoprune.experiment.config import Choice
from isoprune.experiment.pins import CONTENT
from isoprune.experiment.signatures import complete
from isoprune.types import IsopruneError
from isoprune.types.samples import inputs_at

from .painted import folder, opened, paint


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """ImageNet's layout: 12 + 9 + 6 training images, 3 + 0 + 4 to test on."""
    root = tmp_path_factory.mktemp("published")
    folder(root / "train", {"bee": 12, "ant": 9, "cow": 6})
    folder(root / "val", {"cow": 4, "bee": 3})
    return root


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return folder(tmp_path_factory.mktemp("plain"), {"b": 14, "a": 11, "c": 5}, suffix=".JPEG")


def paths(part) -> list[str]:
    return [str((part.root / file).resolve()) for file in part.files]


def all_images(root: Path) -> list[str]:
    return sorted(str(file.resolve()) for file in root.rglob("*") if file.is_file())


def test_the_published_test_part_is_test_and_validation_is_cut_from_train(published):
    splits = opened(published)
    assert [len(p) for p in (splits.train, splits.validation, splits.test)] == [23, 4, 7]
    assert sorted(paths(splits.train) + paths(splits.validation)) == all_images(published / "train")
    assert paths(splits.test) == all_images(published / "val")
    assert splits.classes == 3
    assert splits.in_shape == (3, 8, 8)


def test_classes_are_numbered_by_the_names_of_the_training_folders(published):
    splits = opened(published)
    names = ["ant", "bee", "cow"]
    for part in (splits.train, splits.validation, splits.test):
        assert [Path(file).parts[0] for file in part.files] == [names[i] for i in part.targets.tolist()]


def test_a_folder_without_parts_is_cut_into_three_and_test_stays_whatever_the_seed(plain):
    a, b, again = (opened(plain, seed, test=5) for seed in (0, 1, 0))
    for splits in (a, b):
        parts = [paths(p) for p in (splits.train, splits.validation, splits.test)]
        assert [len(p) for p in parts] == [21, 4, 5]
        assert sorted(chain(*parts)) == all_images(plain)
    assert a.test.files == b.test.files
    assert a.validation.files != b.validation.files
    assert (a.train.files, a.validation.files) == (again.train.files, again.validation.files)


def test_train_alone_is_cut_into_three(tmp_path):
    splits = opened(folder(tmp_path / "train", {"a": 10, "b": 10}).parent)
    parts = [paths(p) for p in (splits.train, splits.validation, splits.test)]
    assert [len(p) for p in parts] == [14, 4, 2]
    assert sorted(chain(*parts)) == all_images(tmp_path)


def test_a_labelled_test_part_comes_before_val_and_an_unlabelled_one_does_not(tmp_path):
    folder(tmp_path / "train", {"a": 9, "b": 9})
    folder(tmp_path / "val", {"a": 2, "b": 2})
    paint(tmp_path / "test" / "0.png", 0)  # ImageNet's own test part has no labels
    assert paths(opened(tmp_path).test) == all_images(tmp_path / "val")
    folder(tmp_path / "test", {"a": 1, "b": 1})
    assert [Path(p).parent.parent.name for p in paths(opened(tmp_path).test)] == ["test", "test"]


def test_a_class_may_be_called_train(tmp_path):
    splits = opened(folder(tmp_path, {"train": 9, "car": 9}))
    assert splits.classes == 2
    assert len(splits.test) == 2


def test_a_limit_takes_training_images_only(plain):
    whole, fewer = opened(plain), opened(plain, limit=6)
    assert fewer.train.files == whole.train.files[:6]
    assert fewer.validation.files == whole.validation.files
    assert fewer.test.files == whole.test.files


def test_only_training_batches_are_changed(published):
    splits = opened(published)
    parts = [torch.arange(3)]
    for part, same in ((splits.train, False), (splits.validation, True), (splits.test, True)):
        ((seen, _),) = part.batches(parts, seeds=[1])
        assert torch.equal(seen, inputs_at(part, parts[0])) == same
    unchanged = opened(published, augment=False).train
    ((seen, _),) = unchanged.batches(parts, seeds=[1])
    assert torch.equal(seen, inputs_at(unchanged, parts[0]))


def test_grey_is_one_channel_in_minus_one_to_one(published):
    splits = opened(published, channels=1)
    assert splits.in_shape == (1, 8, 8)
    seen = inputs_at(splits.test, torch.arange(7))
    assert seen.abs().max() <= 1
    assert seen.std() > 0.1


def test_hidden_files_other_files_and_deeper_folders(tmp_path):
    folder(tmp_path, {"a/deep": 8, "b": 8})
    (tmp_path / "a" / ".hidden.png").write_bytes(b"")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / ".cache").mkdir()
    paint(tmp_path / "b" / ".thumbnails" / "0.png", 0)
    splits = opened(tmp_path)
    assert sum(len(p) for p in (splits.train, splits.validation, splits.test)) == 16


def own_transform(image):
    """What a user's own evaluation does, by torchvision's classes."""
    return v1.Compose([
        v1.Resize(11, v1.InterpolationMode.BICUBIC), v1.CenterCrop(8), v1.ToTensor(),
        v1.Normalize((0.2, 0.4, 0.6), (0.1, 0.2, 0.3)),
    ])(image)  # fmt: skip


def composed():
    return own_transform


OWN = {"resize": 11, "interpolation": "bicubic", "mean": [0.2, 0.4, 0.6], "std": [0.1, 0.2, 0.3]}


@pytest.mark.parametrize("said", [OWN, {"transform": "own_transform"}, {"transform": "composed"}])
def test_inputs_are_those_of_torchvisions_transform(plain, said):
    if "transform" in said:
        said = {"transform": f"{__name__}:{said['transform']}"}
    splits = opened(plain, **said)
    want = [own_transform(Image.open(path).convert("RGB")) for path in paths(splits.test)]
    torch.testing.assert_close(inputs_at(splits.test, torch.arange(len(want))), torch.stack(want))
    assert splits.in_shape == (3, 8, 8)
    ((seen, _),) = splits.train.batches([torch.arange(2)], seeds=[1])
    assert seen.shape == (2, 3, 8, 8)


def test_timms_config_says_all_of_it(plain):
    pytest.importorskip("timm")
    from timm.data import create_transform, resolve_data_config
    from timm.models import get_pretrained_cfg

    config = resolve_data_config(pretrained_cfg=get_pretrained_cfg("vit_tiny_patch16_224").to_dict())
    splits = opened(plain, transform="timm:vit_tiny_patch16_224")
    image = Image.open(paths(splits.test)[0]).convert("RGB")
    want = create_transform(**config)(image)
    torch.testing.assert_close(inputs_at(splits.test, torch.tensor([0]))[0], want)
    with pytest.raises(IsopruneError, match=r"timm has no config of 'vit_tiny_patch'"):
        opened(plain, transform="timm:vit_tiny_patch")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"mean": [0.5]}, "a number for each of the 3 channels"),
        ({"std": [0.0, 1.0, 1.0]}, "std above 0"),
        ({"resize": 7}, "resize at least the size, 8"),
        ({"crop": 1.5}, r"crop = 1.5 is the part of the shorter side that stays"),
        ({"interpolation": "cubic"}, "Did you mean 'bicubic'"),
        ({"transform": "math:pi", "mean": [1.0]}, "transform says all of it: leave out mean"),
        ({"transform": "math:nothing"}, "No transform math:nothing: .*it takes an image, or nothing"),
    ],
)
def test_preprocessing_that_is_none_is_refused(plain, said, why):
    with pytest.raises(IsopruneError, match=why):
        opened(plain, **said)


def test_a_folder_is_part_of_an_experiment_by_what_it_holds(tmp_path):
    folder(tmp_path, {"a": 3, "b": 3})
    chosen = Choice("image_folder", {"root": str(tmp_path)})
    first = complete("data", chosen, "data")
    assert complete("data", chosen, "data") == first
    assert complete("data", first, "data") == first
    file = tmp_path / "a" / "000.png"
    was = file.read_bytes()
    paint(file, 77)
    changed = complete("data", chosen, "data")
    assert changed.options[CONTENT] != first.options[CONTENT]
    with pytest.raises(IsopruneError, match=r"data: the images of .* have changed: their digest is"):
        complete("data", first, "data")
    file.write_bytes(was)
    assert complete("data", chosen, "data") == first
    file.rename(tmp_path / "b" / "else.png")
    assert complete("data", chosen, "data").options[CONTENT] != first.options[CONTENT]


def test_without_a_root_it_is_asked_for_before_anything_runs():
    with pytest.raises(IsopruneError, match=r"image_folder needs a root: data = \{name"):
        load("image_folder", seed=0)
    with pytest.raises(
        IsopruneError, match=r"data set 'image_folder' needs the option 'root'\. Write data ="
    ):
        complete("data", Choice("image_folder"), "data")


def test_the_root_is_part_of_an_experiment_only_when_it_is_given(tmp_path):
    done = complete("data", Choice("image_folder", {"root": str(tmp_path)}), "data")
    assert done.options["root"] == str(tmp_path)
    assert "workers" not in done.options  # how many read changes no bit
    assert "root" not in complete("data", Choice("cifar10"), "data").options
    with pytest.raises(IsopruneError, match=re.escape("data.root must be a path or left out, not 3 (int)")):
        complete("data", Choice("cifar10", {"root": 3}), "data")


def test_a_transform_is_called_once_an_image(plain):
    splits = opened(plain, transform=f"{__name__}:counted_transform", augment=False)
    called.clear()
    seen = sum(len(x) for x, _ in splits.train.batches(torch.arange(len(splits.train)).split(1)))
    assert len(called) == seen == len(splits.train)


called: list[int] = []


def counted_transform(image):
    called.append(1)
    return own_transform(image)
