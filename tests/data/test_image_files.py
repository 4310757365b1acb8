"""What is read from the disk, and what is drawn: the same whoever reads and wherever reading starts."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Generator
from torchvision.transforms import v2

from isoprune.data.image_files import ImageFiles, random_box, readers, sample_seed
from isoprune.data.images import COLOUR, middle, open_image, pixels_of
from isoprune.types import IsopruneError, Samples
from isoprune.types.samples import inputs_at

from .painted import paint

COUNT = 11
PARTS = torch.tensor([3, 0, 7, 7, 10, 2, 9, 1]).split(3)
SEEDS = [5, 6, 2**62]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for i in range(COUNT):
        paint(root / f"{i}.png", i, (40 + 3 * i, 61 - 2 * i))
    return root


def samples(root: Path, **options) -> ImageFiles:
    options = {"size": 14, "augment": True} | options
    return ImageFiles(root, tuple(f"{i}.png" for i in range(COUNT)), torch.arange(COUNT) % 3, **options)


def equal(a, b) -> bool:
    return all(
        torch.equal(x, p) and torch.equal(y, q) for (x, y), (p, q) in zip(list(a), list(b), strict=True)
    )


def test_they_are_samples(root):
    made = samples(root, channels=1)
    assert isinstance(made, Samples)
    assert made.in_shape == (1, 14, 14)
    assert made.to(torch.device("cpu")) is made
    inputs, targets = zip(*made.batches(PARTS), strict=True)
    assert [tuple(x.shape) for x in inputs] == [(3, 1, 14, 14), (3, 1, 14, 14), (2, 1, 14, 14)]
    assert torch.cat(targets).tolist() == [0, 0, 1, 1, 1, 2, 0, 1]


@pytest.mark.parametrize("size", [8, 14, 224])
def test_measured_is_what_torchvision_evaluates_on(root, size):
    """Slow reference: torchvision's own evaluation preset, image by image."""
    transform = v2.Compose(
        [
            v2.Resize(round(size * 256 / 224)),
            v2.CenterCrop(size),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(*COLOUR),
        ]
    )
    want = torch.stack([transform(open_image(root / f"{i}.png", 3)) for i in range(COUNT)])
    torch.testing.assert_close(inputs_at(samples(root, size=size), torch.arange(COUNT)), want)


def test_trained_on_is_what_torchvision_trains_on(root):
    """Slow reference: torchvision's training preset, its global generator set before every image."""
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(14),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(*COLOUR),
        ]
    )
    got = list(samples(root).batches(PARTS, seeds=SEEDS))
    for part, seed, (inputs, _) in zip(PARTS, SEEDS, got, strict=True):
        for place, i in enumerate(part.tolist()):
            with torch.random.fork_rng():
                torch.manual_seed(sample_seed(seed, place))
                want = transform(open_image(root / f"{i}.png", 3))
            torch.testing.assert_close(inputs[place], want)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**31))
def test_a_random_box_is_torchvisions_and_lies_inside(height, width, seed):
    top, left, tall, wide = random_box(height, width, Generator().manual_seed(seed))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        want = v2.RandomResizedCrop(9).make_params([torch.empty(3, height, width)])
    assert {"top": top, "left": left, "height": tall, "width": wide} == want
    assert top >= 0 <= left
    assert top + tall <= height
    assert left + wide <= width


def test_images_too_thin_for_any_box_give_their_middle():
    assert random_box(1000, 3, Generator().manual_seed(0)) == (498, 0, 4, 3)
    assert random_box(3, 1000, Generator().manual_seed(0)) == (0, 498, 3, 4)


@pytest.mark.parametrize("workers", [2, 5])
@pytest.mark.parametrize("seeds", [None, SEEDS])
def test_the_number_of_threads_changes_no_bit(root, workers, seeds):
    one, more = samples(root, workers=1), samples(root, workers=workers)
    assert equal(one.batches(PARTS, seeds=seeds), more.batches(PARTS, seeds=seeds))


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_going_on_from_any_part_gives_the_bits_of_the_whole(root, first):
    made, more = samples(root, workers=3), list(samples(root).batches(PARTS, seeds=SEEDS))
    torch.rand(3)
    assert equal(made.batches(PARTS[first:], seeds=SEEDS[first:]), more[first:])


def test_the_draw_of_a_sample_depends_on_its_parts_seed_and_its_place_alone(root):
    """The same image everywhere: places of a part differ, parts of one seed do not, whatever their length."""
    parts = torch.zeros(9, dtype=torch.long).split([4, 4, 1])
    (a, _), (b, _), (c, _) = samples(root).batches(parts, seeds=[8, 8, 8])
    assert torch.equal(a, b)
    assert torch.equal(a[:1], c)
    assert len(a.unique(dim=0)) == 4
    ((other, _),) = samples(root).batches(parts[:1], seeds=[9])
    assert not torch.equal(a, other)


def test_nothing_is_drawn_without_seeds_or_without_augment(root):
    plain = samples(root, augment=False)
    state = torch.get_rng_state()
    assert equal(samples(root).batches(PARTS), plain.batches(PARTS))
    assert equal(plain.batches(PARTS, seeds=SEEDS), plain.batches(PARTS))
    assert not equal(samples(root).batches(PARTS, seeds=SEEDS), plain.batches(PARTS))
    assert torch.equal(torch.get_rng_state(), state)


def test_no_part_and_an_empty_part(root):
    assert list(samples(root).batches([])) == []
    ((inputs, targets),) = samples(root).batches([torch.empty(0, dtype=torch.long)])
    assert inputs.shape == (0, 3, 14, 14)
    assert len(targets) == 0


def reading() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("images")]


def test_who_stops_early_leaves_no_thread(root):
    running = samples(root, workers=3).batches([torch.arange(COUNT)] * 50)
    next(running)
    assert reading()
    running.close()
    assert not reading()


def test_an_image_that_cannot_be_read_is_named_and_ends_the_reading(root, tmp_path):
    whole = (root / "0.png").read_bytes()
    for name, content in (("cut.png", whole[:-30]), ("none.png", b""), ("no.png", b"no image")):
        (tmp_path / name).write_bytes(content)
        made = ImageFiles(tmp_path, (name,), torch.zeros(1, dtype=torch.long), 8)
        with pytest.raises(
            IsopruneError, match=rf"{name} is no image that can be read: .*Take it out"
        ) as error:
            list(made.batches([torch.zeros(1, dtype=torch.long)] * 3))
        assert "\n" not in str(error.value)
    with pytest.raises(IsopruneError, match=r"gone\.png is no image"):
        list(ImageFiles(tmp_path, ("gone.png",), torch.zeros(1), 8).batches([torch.tensor([0])]))
    assert not reading()


@pytest.mark.parametrize(("height", "width"), [(6, 14), (14, 6), (9, 9)])
@pytest.mark.parametrize("tall", [33, 60])
def test_the_middle_of_any_shape_has_that_shape_and_is_in_the_middle(height, width, tall):
    """On a ramp a part's mean is where its middle is; 7/8 of the side that decides remains."""
    ramp = torch.zeros(tall, 47, 3, dtype=torch.uint8)
    ramp[..., 0] = 4 * torch.arange(tall)[:, None]
    ramp[..., 1] = 4 * torch.arange(47)
    got = pixels_of(middle(Image.fromarray(ramp.numpy()), height, width)).double()
    assert got.shape == (3, height, width)
    per_pixel = min(tall / height, 47 / width) * 7 / 8  # of the image, for one of the crop
    for channel, side in ((0, tall), (1, 47)):
        # To half a pixel of the crop, as both its place and the resized side are whole numbers.
        assert abs(got[channel].mean() / 4 - (side - 1) / 2) < 0.6 * per_pixel
    extents = [got[0, -1].mean() - got[0, 0].mean(), got[1, :, -1].mean() - got[1, :, 0].mean()]
    for extent, side in zip(extents, (height, width), strict=True):
        assert abs(extent / 4 - (side - 1) * per_pixel) < 0.15 * side * per_pixel


def test_how_many_threads_read(monkeypatch):
    monkeypatch.delenv("ISOPRUNE_WORKERS", raising=False)
    assert readers(None) >= 1
    monkeypatch.setenv("ISOPRUNE_WORKERS", "3")
    assert [readers(None), readers(7)] == [3, 7]
    for text in ("0", "-1", "two", "²"):
        monkeypatch.setenv("ISOPRUNE_WORKERS", text)
        with pytest.raises(IsopruneError, match=f"'{text}' threads cannot read images. Give workers"):
            readers(None)
