"""Random crops and mirrors of a whole batch."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from isoprune.data.cifar import crop_flip, crop_flip_for
from isoprune.types.samples import Split


def one_by_one(images, generator, *, black, padding):
    """The slow reference: pixel by pixel, with the same draws."""
    n, channels, height, width = images.shape

    def draw(high):
        return torch.randint(high, (n,), generator=generator).tolist()

    tops, lefts, mirrors = draw(2 * padding + 1), draw(2 * padding + 1), draw(2)
    out = torch.empty_like(images)
    for i in range(n):
        for row in range(height):
            for column in range(width):
                there = width - 1 - column if mirrors[i] else column
                y, x = row + tops[i] - padding, there + lefts[i] - padding
                inside = 0 <= y < height and 0 <= x < width
                for c in range(channels):
                    out[i, c, row, column] = images[i, c, y, x] if inside else black[c]
    return out


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("shape", "padding"), [((9, 3, 8, 8), 4), ((5, 1, 6, 9), 2), ((1, 2, 3, 3), 4), ((4, 3, 5, 5), 0)]
)
def test_a_batch_is_cropped_as_its_images_are_one_by_one(shape, padding):
    images, black = noise(*shape), [-1.5, 0.25, 9.0][: shape[1]]
    got = crop_flip(images, Generator().manual_seed(3), black=black, padding=padding)
    want = one_by_one(images, Generator().manual_seed(3), black=black, padding=padding)
    assert torch.equal(got, want)
    assert got.is_contiguous()


def test_what_is_around_an_image_is_black_before_it_is_normalised():
    """Normalising and cropping commute, as in the authors' code, which pads images of bytes."""
    mean, std = (0.4, 0.3, 0.2), (0.5, 0.25, 0.125)
    pixels = torch.rand(16, 3, 8, 8, dtype=torch.float64, generator=Generator().manual_seed(0))
    shift, scale = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in (mean, std))
    cropped = crop_flip(pixels, Generator().manual_seed(2), black=(0.0, 0.0, 0.0))
    assert (cropped == 0).any()
    got = crop_flip_for(mean, std)((pixels - shift) / scale, Generator().manual_seed(2))
    torch.testing.assert_close(got, (cropped - shift) / scale)


def test_every_place_and_both_directions_are_drawn_equally_often():
    """Where one bright pixel comes to lie: 9 x 9 places; chi-squared within five deviations."""
    n = 16200
    images = torch.zeros(n, 1, 9, 9)
    images[:, :, 4, 4] = 1
    out = crop_flip(images, Generator().manual_seed(0), black=[0.0])
    counts = out.sum(0).flatten().double()
    assert counts.sum() == n  # padding 4: the middle is in every cut
    chi = ((counts - n / 81).square() / (n / 81)).sum()
    assert abs(chi - 80) < 5 * (2 * 80) ** 0.5
    ramp = torch.arange(9.0).expand(n, 1, 9, 9)
    turned = crop_flip(ramp, Generator().manual_seed(0), black=[0.0], padding=0)
    rising = (turned[:, 0, 0, 0] == 0).sum()
    assert abs(int(rising) - n / 2) < 5 * (n / 4) ** 0.5


def test_the_input_and_torchs_generator_are_left_as_they_are():
    images = noise(4, 3, 8, 8)
    before, state = images.clone(), torch.get_rng_state()
    crop_flip(images, Generator().manual_seed(0), black=(0.0, 0.0, 0.0))
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_no_image_is_no_image():
    assert crop_flip(noise(0, 3, 8, 8), Generator(), black=(0.0, 0.0, 0.0)).shape == (0, 3, 8, 8)


def test_a_split_changes_what_is_trained_on_and_only_that():
    images, targets = noise(12, 3, 8, 8).float(), torch.arange(12)
    split = Split(images, targets, crop_flip_for((0.5,) * 3, (0.5,) * 3))
    parts = torch.arange(12).split(5)
    plain = torch.cat([x for x, _ in split.batches(parts)])
    assert torch.equal(plain, images)
    whole = list(split.batches(parts, seeds=[1, 2, 3]))
    assert torch.equal(torch.cat([y for _, y in whole]), targets)
    assert not torch.equal(torch.cat([x for x, _ in whole]), images)
    rest = list(split.batches(parts[1:], seeds=[2, 3]))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(whole[1:], rest, strict=True))
