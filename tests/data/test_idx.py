from __future__ import annotations

import gzip

import pytest
import torch

from isoprune.data.mnist import FILES, find, read_idx, read_pair
from isoprune.types import IsopruneError

from .idx_files import idx_bytes, tiny_set, write_set


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("shape", [(0,), (1,), (300,), (3, 5, 7), (1, 1, 1), (0, 28, 28)])
def test_reading_inverts_writing(tmp_path, shape, zipped):
    values = torch.randint(256, shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    path = tmp_path / ("file.gz" if zipped else "file")
    path.write_bytes(gzip.compress(idx_bytes(values)) if zipped else idx_bytes(values))
    assert torch.equal(read_idx(path, dims=len(shape)), values)


GOOD = idx_bytes(torch.arange(60, dtype=torch.uint8).view(3, 4, 5))
ZIPPED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("cut", GOOD[:-1], "59 values where its header says 60"),
        ("longer", GOOD + b"x", "61 values where its header says 60"),
        ("header_only", GOOD[:9], "does not begin as an idx file of 3 dimensions"),
        ("empty", b"", "does not begin"),
        ("labels", idx_bytes(torch.zeros(4, dtype=torch.uint8)), "does not begin"),
        ("page", b"<html>404 not found</html>", "does not begin"),
        ("cut.gz", ZIPPED[:-10], "ended before"),
        ("flipped.gz", ZIPPED[:40] + bytes([ZIPPED[40] ^ 255]) + ZIPPED[41:], "."),
        ("page.gz", b"<html>404 not found</html>", "Not a gzipped file"),
        ("empty.gz", b"", "does not begin"),
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, name, content, why):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(IsopruneError, match=why) as caught:
        read_idx(path, dims=3)
    assert str(path) in str(caught.value)
    assert "Delete it" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_set_is_found_only_when_complete_and_plain_files_come_first(tmp_path):
    assert find(tmp_path) is None
    write_set(tmp_path, tiny_set(), zipped=True)
    assert find(tmp_path) == [tmp_path / f"{name}.gz" for name in FILES]
    write_set(tmp_path, tiny_set())
    assert find(tmp_path) == [tmp_path / name for name in FILES]
    for name in (FILES[2], f"{FILES[2]}.gz"):
        (tmp_path / name).unlink()
    assert find(tmp_path) is None


def test_as_many_labels_as_images(tmp_path):
    images, labels, *_ = tensors = tiny_set()
    write_set(tmp_path, [images, labels[:-1], *tensors[2:]])
    with pytest.raises(IsopruneError, match="39 labels for the 40 images of train-images"):
        read_pair(tmp_path / FILES[0], tmp_path / FILES[1])
    write_set(tmp_path, [images[:0], labels[:0], *tensors[2:]])
    with pytest.raises(IsopruneError, match="holds no image"):
        read_pair(tmp_path / FILES[0], tmp_path / FILES[1])
