"""What repairs by least squares cost on large networks: python benchmarks/reconstruct.py --network resnet50

    python benchmarks/reconstruct.py --network resnet50 --method reconstruct
    python benchmarks/reconstruct.py --network resnet50 --method reconstruction   the criterion, and its refit
    python benchmarks/reconstruct.py --network unet --method auto
    python benchmarks/reconstruct.py --network crepe --method reconstruct

Random weights (BatchNorm settled on its inputs), random images, half of the channels: they tell nothing of
accuracy, and the work is that of real ones. Seconds of choosing and repairing by the clock and of CPU, which
tell apart what other programs took; peak memory. Set OMP_NUM_THREADS for the number of threads.
"""

from __future__ import annotations

import argparse
import logging
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn

import isoprune


class UNet(nn.Module):
    """Ten convolutions of VGG-13 with BatchNorm on the way down, eight on the way up: 19.6 M weights."""

    WIDTHS = (64, 128, 256, 512, 512)

    def __init__(self) -> None:
        super().__init__()
        before = (3, *self.WIDTHS)
        self.down = nn.ModuleList(twice(a, b) for a, b in zip(before, self.WIDTHS, strict=False))
        self.up = nn.ModuleList(
            twice(low + skip, skip) for low, skip in zip(self.WIDTHS[:0:-1], self.WIDTHS[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(self.WIDTHS[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for i, block in enumerate(self.down):
            x = block(x if not i else nn.functional.max_pool2d(x, 2))
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            x = block(torch.cat((nn.functional.interpolate(x, scale_factor=2.0), skip), 1))
        return self.head(x)


def twice(before: int, after: int) -> nn.Sequential:
    layers = []
    for a in (before, after):
        layers += [nn.Conv2d(a, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def crepe() -> nn.Module:
    """Return a pitch tracker in the shape of CREPE: kernels of 64 taps, 128 channels in every layer."""
    layers: list[nn.Module] = [nn.Conv1d(1, 128, 512, 4, padding=254), nn.ReLU(), nn.BatchNorm1d(128)]
    for _ in range(4):
        layers += [nn.MaxPool1d(2), nn.Conv1d(128, 128, 64, padding=32), nn.ReLU(), nn.BatchNorm1d(128)]
    return nn.Sequential(*layers, nn.MaxPool1d(2), nn.Flatten(), nn.Linear(128 * 8, 360))


@dataclass(frozen=True)
class Setting:
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    samples: int


NETWORKS = {
    "resnet50": Setting(torchvision.models.resnet50, (3, 224, 224), 256),
    "unet": Setting(UNet, (3, 256, 192), 24),
    "crepe": Setting(crepe, (1, 1024), 2000),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=NETWORKS, default="resnet50")
    parser.add_argument("--method", choices=("reconstruct", "auto", "reconstruction"), default="reconstruct")
    parser.add_argument("--ratio", type=float, default=0.5)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    setting = NETWORKS[args.network]
    torch.manual_seed(0)
    dense, inputs = setting.make(), torch.randn(setting.samples, *setting.shape)
    for module in dense.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None  # the average over all that follows
    with torch.no_grad():
        for part in inputs[:64].split(8):
            dense.train()(part)
    dense.eval()
    batches = [(part, torch.zeros(len(part))) for part in inputs.split(8)]
    plain = isoprune.prune(dense, inputs[:1], args.ratio)
    before = peak()
    clock, cpu = time.perf_counter(), time.process_time()
    if args.method == "reconstruction":
        made = isoprune.prune(
            dense, inputs[:1], args.ratio, criterion="reconstruction", batches=batches, loss=nn.MSELoss()
        )
    else:
        made = isoprune.repair(plain, args.method, batches=batches, loss=nn.MSELoss())
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    with torch.no_grad():
        want = dense(inputs[:8])
        off = [float((one.model(inputs[:8]) - want).norm() / want.norm()) for one in (plain, made)]
    print(
        f"{args.network} {setting.shape}, {args.method}, {setting.samples} inputs, "
        f"{torch.get_num_threads()} threads: {clock:.0f} s, {cpu:.0f} s of CPU; peak {peak() / 1e9:.2f} GB "
        f"({before / 1e9:.2f} before). "
        f"Outputs off by {off[0]:.3f} of their norm after L1, {off[1]:.3f} now."
    )


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
