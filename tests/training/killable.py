"""One training in a process of its own, to be killed: python killable.py FOLDER.

Augmentation, Dropout, BatchNorm, averaging, distillation: whatever a step could depend on. When it has ended,
the digest of weights, buffers, history and generator is in FOLDER/done.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from isoprune.methods.schedules import one_cycle
from isoprune.training import Distill, Loop, Saving, Training, fit
from isoprune.training.checkpoint import digest
from isoprune.types import Splits
from isoprune.types.samples import Split


class Counting(nn.Module):
    """Adds what it has seen to a buffer that its state dict leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
        return x * (1 + 0.001 * self.seen)


def network(seed: int) -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(),
        nn.Flatten(),
        Counting(),
        nn.Linear(144, 3),
    )
    g = Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g) / 8)
    return net


def shifted(inputs: Tensor, generator: Generator) -> Tensor:
    return inputs.roll(int(torch.randint(8, (), generator=generator)), dims=-1)


def data() -> Splits:
    g = Generator().manual_seed(0)

    def split(n: int) -> Split:
        return Split(torch.randn(n, 1, 8, 8, generator=g), torch.arange(n) % 3, shifted)

    return Splits(split(205), split(30), split(3), classes=3)


def train(folder: Path, *, epochs: int = 4, pause: float = 0.0) -> str:
    """Return the digest of all that comes out."""
    generator = Generator().manual_seed(5)

    class Slow(nn.Module):
        """Takes its time, so that most moments lie within an epoch."""

        def forward(self, x: Tensor) -> Tensor:
            time.sleep(pause)
            return x

    net = nn.Sequential(Slow(), network(1))
    loop = Loop(average=0.4, accumulate=2, clip=1.0, label_smoothing=0.1)
    got, history = fit(
        net,
        data(),
        Training(epochs, 0.05, one_cycle(), batch=10, loop=loop),
        distill=Distill(0.3, 2.0, network(2)),
        generator=generator,
        saving=Saving(folder / "state", steps=3),
    )
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in history]
    tensors = {**got.state_dict(), "seen": got.get_buffer("1.5.seen"), "generator": generator.get_state()}
    return digest(tensors, json.dumps(rows))


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.rand(int(time.time_ns() % 97))  # Whatever torch's own generator is at.
    told = train(Path(sys.argv[1]), pause=float(sys.argv[2]))
    (Path(sys.argv[1]) / "done").write_text(told)
