"""A folder of images becomes inputs: cut, scaled and normalised as said, and refused in words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from isoprune.data.images import COLOUR, images_below
from isoprune.types import IsopruneError


def paint(file, colour, size=(20, 12), mode="RGB"):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(file)


def test_a_plain_colour_stays_one_and_is_normalised(tmp_path):
    paint(tmp_path / "a.png", (255, 0, 51))
    (image,) = images_below(tmp_path, (3, 8, 10), samples=4, seed=0)
    mean, std = (torch.tensor(v) for v in COLOUR)
    want = ((torch.tensor([1.0, 0.0, 0.2]) - mean) / std).view(3, 1, 1).expand(3, 8, 10)
    torch.testing.assert_close(image, want)


def test_grey_networks_get_grey_images_in_minus_one_to_one(tmp_path):
    paint(tmp_path / "a.bmp", (255, 255, 255))
    paint(tmp_path / "b.JPG", 0, mode="L")
    images = images_below(tmp_path, (1, 4, 4), samples=9, seed=0)
    assert sorted(images.flatten(1).mean(1).tolist()) == pytest.approx([-1, 1])


def test_the_middle_is_cut_out_of_any_size_of_image(tmp_path):
    pixels = np.zeros((50, 200, 3), np.uint8)
    pixels[:, 90:110] = 255  # a white bar in the middle
    Image.fromarray(pixels).save(tmp_path / "a.png")
    paint(tmp_path / "b.png", (9, 9, 9), size=(3, 3))  # smaller than the crop: made larger
    images = images_below(tmp_path, (3, 16, 16), samples=2, seed=0)
    assert images.shape == (2, 3, 16, 16)
    bar = max(images, key=lambda image: float(image.max()))
    light = bar[0] - bar[0].min()
    centre = float((light.sum(0) * (torch.arange(16) + 0.5)).sum() / light.sum())
    assert centre == pytest.approx(8, abs=0.6)
    assert float(light[0].sum()) == pytest.approx(float(light[-1].sum()), rel=0.01)


def test_seed_chooses_and_fewer_are_the_first_of_more(tmp_path):
    for i in range(9):
        paint(tmp_path / f"class{i % 3}" / f"{i}.png", (20 * i, 0, 0))
    many, few, other = (
        images_below(tmp_path, (3, 4, 4), samples=n, seed=s) for n, s in ((9, 0), (3, 0), (9, 1))
    )
    assert torch.equal(many[:3], few)
    assert not torch.equal(many, other)
    assert torch.equal(many.sum((1, 2, 3)).sort()[0], other.sum((1, 2, 3)).sort()[0])


def test_bad_folders_are_refused(tmp_path):
    with pytest.raises(IsopruneError, match=r"No image below .*\. Give a folder that holds \.jpg"):
        images_below(tmp_path, (3, 4, 4), samples=1, seed=0)
    with pytest.raises(IsopruneError, match=r"takes 4 channels, images of a folder have 1 or 3"):
        images_below(tmp_path, (4, 4, 4), samples=1, seed=0)
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(IsopruneError, match=r"1 of 1 images of .*: a\.png \(it is no image\)\. Take them"):
        images_below(tmp_path, (3, 4, 4), samples=1, seed=0)
