"""What `reconstruct` costs on a large network: seconds a layer, peak memory: python benchmarks/reconstruct.py

ResNet-50 at 224 x 224 (random weights, BatchNorm settled on its inputs), pruned by half, repaired
from 256 random images, ten places of each output map. Random images tell nothing of accuracy; the work is
that of real ones. Set OMP_NUM_THREADS for the number of threads.
"""

from __future__ import annotations

import argparse
import logging
import resource
import time

import torch
import torchvision

import isoprune
from isoprune.methods.repairs import reconstruct
from isoprune.signals.signals import Signals


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="resnet50", help="of torchvision (default: %(default)s)")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--places", type=int, default=10)
    parser.add_argument("--ratio", type=float, default=0.5)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(0)
    dense = getattr(torchvision.models, args.network)()
    images = torch.randn(args.samples, 3, args.size, args.size)
    for module in dense.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the average over all that follows
    with torch.no_grad():
        for part in images[:64].split(16):
            dense(part)
    dense.eval()
    result = isoprune.prune(dense, images[:1], args.ratio)
    batches = [(part, torch.zeros(len(part))) for part in images.split(32)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    began = time.perf_counter()
    repaired = reconstruct(
        result, Signals(result.model, batches), generator=torch.Generator(),
        samples=args.samples, places=args.places,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with torch.no_grad():
        want = dense(images[:16])
        off = [float((m(images[:16]) - want).norm() / want.norm()) for m in (result.model, repaired)]
    print(
        f"{args.network} at {args.size}, {args.samples} images, {args.places} places, "
        f"{torch.get_num_threads()} threads: {seconds:.0f} s, peak of the process {peak / 1e9:.2f} GB "
        f"({before / 1e9:.2f} before). Outputs off by {off[0]:.3f} of their norm, {off[1]:.3f} after."
    )


if __name__ == "__main__":
    main()
