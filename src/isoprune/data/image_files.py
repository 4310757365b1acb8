"""Samples on the disk: image files that threads read on demand."""

from __future__ import annotations

import hashlib
import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from isoprune.data.images import finished, input_of, mode_of, open_image, pixels_of, transforms, usual
from isoprune.types import IsopruneError
from isoprune.types.data import Preprocessing
from isoprune.types.seeded import seeded

# Of the image's area, and width over height: Szegedy et al., 2015, as torchvision's training has them.
AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)
TRIES = 10


@dataclass(frozen=True)
class ImageFiles:
    """Images below ``root``: read, cut to ``size`` x ``size`` and normalised.

    Threads, not processes: Pillow lets go of the interpreter's lock while it decodes and resizes, which is
    nearly all there is to do; none can be left behind by a run that is killed, and none must be started anew
    for every pass. ``workers`` is how many; what comes out does not depend on it.
    """

    root: Path
    files: tuple[str, ...]
    targets: Tensor
    size: int
    channels: int = 3
    augment: bool = False
    workers: int = 1
    how: Preprocessing | None = None

    def __len__(self) -> int:
        return len(self.files)

    @property
    def in_shape(self) -> tuple[int, ...]:
        if self._how.transform is not None and self.files:
            return tuple(self._read(0, None, 0).shape)  # the transform's own
        return self.channels, self.size, self.size

    @property
    def _how(self) -> Preprocessing:
        return self.how or usual(self.size, self.channels)

    def batches(
        self, parts: Sequence[Tensor], *, seeds: Sequence[int] | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield inputs and targets of each part; the next part is read while the caller works on one."""
        with ThreadPoolExecutor(self.workers, thread_name_prefix="images") as pool:
            ahead: deque[tuple[Tensor, list[Future[Tensor]]]] = deque()
            try:
                for number, part in enumerate(parts):
                    seed = None if seeds is None else seeds[number]
                    reads = enumerate(part.tolist())
                    ahead.append((part, [pool.submit(self._read, i, seed, place) for place, i in reads]))
                    # One part is being read while another is worked on, and more if parts are small.
                    if sum(len(reads) for _, reads in ahead) > len(part) + 2 * self.workers:
                        yield self._collected(*ahead.popleft())
                while ahead:
                    yield self._collected(*ahead.popleft())
            finally:
                # The caller stopped, or an image cannot be read: what nobody wants is not read.
                pool.shutdown(wait=False, cancel_futures=True)

    def to(self, device: torch.device) -> ImageFiles:  # noqa: ARG002  batches are moved, one by one
        return self

    def _collected(self, part: Tensor, reads: list[Future[Tensor]]) -> tuple[Tensor, Tensor]:
        pixels = [read.result() for read in reads]
        # A transform says its shape by an image that it is given: only where there is no other.
        pixels = torch.stack(pixels) if pixels else torch.empty(0, *self.in_shape, dtype=torch.uint8)
        return finished(pixels, self._how), self.targets[part.cpu()]

    def _read(self, i: int, seed: int | None, place: int) -> Tensor:
        image = open_image(self.root / self.files[i], self.channels)
        if seed is None or not self.augment:
            return input_of(image, (self.size, self.size), self._how)
        generator = seeded(sample_seed(seed, place))
        box = random_box(image.height, image.width, generator)
        mirrored = bool(torch.rand(1, generator=generator) < 0.5)
        if self._how.transform is not None:
            image = transforms().crop(image, *box)
            image = transforms().horizontal_flip(image) if mirrored else image
            return input_of(image, (self.size, self.size), self._how)
        mode = mode_of(self._how.interpolation)
        image = transforms().resized_crop(image, *box, [self.size, self.size], interpolation=mode)
        return pixels_of(transforms().horizontal_flip(image) if mirrored else image)


def sample_seed(seed: int, place: int) -> int:
    """Return the seed of the sample that is ``place``-th in a part; it alone decides its augmentation."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{place}".encode(), digest_size=8).digest()) >> 1


def random_box(height: int, width: int, generator: Generator) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a random part of an image.

    Its area is uniform in ``AREA`` of the image's, the logarithm of its aspect uniform in that of ``ASPECT``.
    If after ten tries none fits, it is the largest part in the middle whose aspect is allowed. Draws and
    order are those of torchvision's ``RandomResizedCrop``, which draws from torch's global generator.
    """

    def uniform(low: float, high: float) -> float:
        return torch.empty(1).uniform_(low, high, generator=generator).item()

    log_aspect = torch.log(torch.tensor(ASPECT)).tolist()
    for _ in range(TRIES):
        area = height * width * uniform(*AREA)
        aspect = torch.exp(torch.empty(1).uniform_(*log_aspect, generator=generator)).item()
        wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < tall <= height:
            top = int(torch.randint(0, height - tall + 1, (1,), generator=generator))
            left = int(torch.randint(0, width - wide + 1, (1,), generator=generator))
            return top, left, tall, wide
    wide, tall = width, height
    if width / height < ASPECT[0]:
        tall = round(width / ASPECT[0])
    elif width / height > ASPECT[1]:
        wide = round(height * ASPECT[1])
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def readers(workers: int | None) -> int:
    """Return how many threads read images: ``workers``, else ``$ISOPRUNE_WORKERS``, else one a core."""
    text = os.environ.get("ISOPRUNE_WORKERS", "") if workers is None else str(workers)
    if not text:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise IsopruneError(
            f"{text!r} threads cannot read images. Give workers (or ISOPRUNE_WORKERS) a number of at least 1."
        )
    return int(text)
