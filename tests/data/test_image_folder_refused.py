"""Folders that are no data set: refused in one line with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from isoprune.types import IsopruneError

from .painted import folder, opened


def build(root: Path, *, train=None, val=None) -> Path:
    for name, counts in (("train", train), ("val", val)):
        if counts is not None:
            folder(root / name, counts)
    return root


@pytest.mark.parametrize(
    ("make", "options", "why"),
    [
        (lambda r: r / "nowhere", {}, r"No folder .*nowhere\. Give root the folder that holds"),
        (lambda r: r, {}, r"has no folder, and a class is one: put the images of each class into .*/CLASS"),
        (lambda r: folder(r, {"a": 3}), {}, "has one class only, a, and telling .* another class"),
        (lambda r: build(r, train={"a": 3}, val={"a": 2}), {}, "train has one class only, a"),
        (
            lambda r: build(r, val={"a": 3, "b": 2}),
            {},
            "has a test part and no train .*Put the training images",
        ),
        (
            lambda r: build(r, train={"a": 3, "b": 3}, val={"a": 1, "d": 1, "e": 1}),
            {},
            "val has the class d and 1 more, and .*train does not: nothing could learn it",
        ),
        (
            lambda r: build(r, train={"a": 3, "b": 3}, val={"a": 1, "d": 1}),
            {},
            "val has the class d, and .*train does not",
        ),
        (lambda r: folder(r, {"a": 9, "b": 9}), {"test": 18}, r"test = 18 cuts 18 of 18 images\. Give"),
        (lambda r: folder(r, {"a": 9, "b": 9}), {"test": 0.0}, r"test = 0.0 cuts 0 of 18 images"),
        (lambda r: folder(r, {"a": 9, "b": 9}), {"validation": 0}, r"validation = 0 cuts 0 of 16 training"),
        (lambda r: folder(r, {"a": 9, "b": 9}), {"limit": 1}, "All 1 training images of .* are of one class"),
        (lambda r: folder(r, {"a": 9, "b": 9}), {"size": 0}, "size = 0, channels = 3: size may be 1 or more"),
        (lambda r: folder(r, {"a": 9, "b": 9}), {"channels": 2}, "channels = 2: .* 1 .grey."),
        (lambda r: folder(r, {"a": 9, "b": 9}), {"workers": 0}, "'0' threads cannot read images"),
    ],
)
def test_folders_that_cannot_work_are_refused_in_one_line(tmp_path, make, options, why):
    with pytest.raises(IsopruneError, match=why) as error:
        opened(make(tmp_path), **options)
    assert "\n" not in str(error.value)


def test_a_class_without_images_is_refused(tmp_path):
    folder(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "c").mkdir()
    with pytest.raises(
        IsopruneError, match=r"c holds no image that can be read .*Remove the folder, or fill it"
    ):
        opened(tmp_path)
    (tmp_path / "d").mkdir()
    with pytest.raises(IsopruneError, match=r"/c, .*/d hold no image .*Remove the folders, or fill them"):
        opened(tmp_path)


def test_all_images_that_cannot_be_read_are_named_at_once_or_skipped(tmp_path):
    folder(tmp_path, {"a": 12, "b": 12})
    whole = opened(tmp_path, augment=False)
    good = (tmp_path / "a" / "000.png").read_bytes()
    (tmp_path / "a" / "bad.jpg").write_bytes(b"no image")
    (tmp_path / "b" / "cut.png").write_bytes(good[: len(good) // 2])  # a header that says nothing wrong
    with pytest.raises(
        IsopruneError, match=r"2 of 26 images of .*: a/bad\.jpg \(.*\), b/cut\.png \(.*on_error"
    ):
        opened(tmp_path)
    skipped = opened(tmp_path, augment=False, on_error="skip")
    for name in ("train", "validation", "test"):
        assert getattr(skipped, name).files == getattr(whole, name).files
    with pytest.raises(IsopruneError, match=r"on_error is 'ignore'\. Write 'raise' or 'skip'"):
        opened(tmp_path, on_error="ignore")
