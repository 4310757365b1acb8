from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Generator

from isoprune.data.splits import make_splits, prepare, split_indices
from isoprune.types import IsopruneError


@settings(deadline=None)
@given(st.integers(2, 300), st.data(), st.integers(0, 2**32))
def test_a_cut_is_a_partition(count, data, seed):
    held = data.draw(st.integers(1, count - 1))
    train, validation = split_indices(count, seed=seed, validation=held, limit=None)
    assert len(validation) == held
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(count))


def test_a_cut_depends_on_its_seed_alone():
    first = split_indices(1000, seed=3, validation=0.1, limit=None)
    state = torch.get_rng_state()
    torch.rand(7)
    again = split_indices(1000, seed=3, validation=100, limit=None)
    other = split_indices(1000, seed=4, validation=0.1, limit=None)
    assert torch.equal(first[1], again[1])
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[1], other[1])
    torch.set_rng_state(state)
    split_indices(1000, seed=5, validation=0.1, limit=None)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_limit_takes_training_images_only():
    train, validation = split_indices(1000, seed=0, validation=0.1, limit=None)
    fewer, same = split_indices(1000, seed=0, validation=0.1, limit=50)
    assert torch.equal(same, validation)
    assert torch.equal(fewer, train[:50])


@pytest.mark.parametrize("validation", [0, 10, 11, -1, 0.0, 1.0, -0.5, 1.5, 0.01])
def test_a_cut_leaves_images_on_both_sides(validation):
    with pytest.raises(IsopruneError, match=r"validation = .* of 10 training images\. Give a fraction"):
        split_indices(10, seed=0, validation=validation, limit=None)


@pytest.mark.parametrize("limit", [0, -1, 10])
def test_a_limit_lies_within_what_there_is(limit):
    with pytest.raises(IsopruneError, match=r"validation leaves 9 training images\. Give 1 to 9"):
        split_indices(10, seed=0, validation=1, limit=limit)


def grey(n: int, side: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(256, (n, 1, side, side), generator=Generator().manual_seed(seed)).to(torch.uint8)


@pytest.mark.parametrize(("side", "size"), [(28, 32), (8, 32), (28, 14), (32, 32)])
def test_the_resize_is_that_of_pillow(side, size):
    """The paper's code resizes with torchvision on Pillow images, which rounds to whole grey levels."""
    images = grey(20, side)
    ours = prepare(images, mean=(0.0,), std=(1.0,), size=size) * 255
    for image, got in zip(images, ours, strict=True):
        pillow = Image.fromarray(image[0].numpy()).resize((size, size), Image.Resampling.BILINEAR)
        # Pillow rounds after each of its two passes.
        torch.testing.assert_close(got[0], torch.from_numpy(np.array(pillow)).float(), atol=1.01, rtol=0)


def test_the_resize_keeps_even_images_and_commutes_with_mirrors():
    level = torch.full((2, 3, 28, 28), 51, dtype=torch.uint8)
    out = prepare(level, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 1.0))
    torch.testing.assert_close(out[1, :, 5, 5], torch.tensor([0.2, 0.0, -0.1]))
    torch.testing.assert_close(out, out[:, :, :1, :1].expand_as(out))
    images = grey(3, 28)
    torch.testing.assert_close(
        prepare(images.flip(-1), mean=(0.3,), std=(0.4,)), prepare(images, mean=(0.3,), std=(0.4,)).flip(-1)
    )


def test_images_do_not_depend_on_the_chunk_they_are_in():
    images = grey(4100, 4)
    whole = prepare(images, mean=(0.5,), std=(0.5,), size=6)
    for i in (0, 4095, 4096, 4099):
        torch.testing.assert_close(prepare(images[i : i + 1], mean=(0.5,), std=(0.5,), size=6)[0], whole[i])


def splits_of(labels: torch.Tensor, **options):
    images = grey(len(labels), 8)
    return make_splits(
        "ours", (images, labels), (images[:2], labels[:2]), mean=(0.0,), std=(1.0,), seed=0, size=8, **options
    )


def test_one_class_is_refused():
    with pytest.raises(
        IsopruneError, match=r"All 8 training images of ours are of one class, .* takes two\."
    ):
        splits_of(torch.zeros(10, dtype=torch.long), validation=2, limit=None)
    with pytest.raises(IsopruneError, match=r"All 1 training images .* Raise limit"):
        splits_of(torch.arange(10), validation=2, limit=1)


def test_classes_are_counted_over_train_and_test():
    assert splits_of(torch.arange(10), validation=2, limit=3).classes == 10


def test_a_test_limit_takes_the_first_test_images_and_nothing_else():
    whole, fewer = (splits_of(torch.arange(10), validation=2, limit=None, test_limit=n) for n in (None, 1))
    assert (len(whole.test), len(fewer.test)) == (2, 1)
    torch.testing.assert_close(fewer.train.inputs, whole.train.inputs)
    for wrong in (0, 3):
        with pytest.raises(
            IsopruneError, match=rf"test_limit = {wrong}, and ours has 2 test images. Give 1 to 2"
        ):
            splits_of(torch.arange(10), validation=2, limit=None, test_limit=wrong)
