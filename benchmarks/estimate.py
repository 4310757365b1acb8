"""Estimated Jacobian singular values against exact ones, on networks with 1000 outputs.

    python benchmarks/estimate.py                        resnet18 and resnet50 at 64x64, 20 seeds
    python benchmarks/estimate.py --size 224 --estimate-only --networks resnet50 --samples 1

Weights are torchvision's initialisation, BatchNorm statistics those of random images. Error: of each sample's
mean and largest value, relative. Set OMP_NUM_THREADS for the number of threads.
"""

from __future__ import annotations

import argparse
import os
import time
from functools import partial

import torch
import torchvision

from isoprune.isometry import estimate_jacobian_singular_values, jacobian_singular_values


def network(name, size):
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the average over all that follows
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(32, 3, min(size, 64), min(size, 64)))
    return model.eval()


def estimated(model, x, options, seed):
    generator = torch.Generator().manual_seed(seed)
    return estimate_jacobian_singular_values(model, x, generator=generator, **options)


def timed(f):
    start = time.perf_counter()
    result = f()
    return result, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--samples", type=int, default=4, help="measured together")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--probes", type=int, default=56)
    parser.add_argument("--block", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--estimate-only", action="store_true")
    args = parser.parse_args()
    options = {"probes": args.probes, "block": args.block, "steps": args.steps}
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    for name in args.networks:
        model = network(name, args.size)
        x = torch.randn(args.samples, 3, args.size, args.size)

        estimate = partial(estimated, model, x, options)
        estimate(0)
        if args.estimate_only:
            got, seconds = timed(partial(estimate, 0))
            print(f"{name} at {args.size}: {seconds / args.samples:.1f} s a sample, {got.products} products")
            for m, e, top, te in zip(got.mean, got.mean_error, got.max, got.max_error, strict=True):
                print(f"  mean {m:.4g} ± {e:.2g}, max {top:.4g} ± {te:.2g}")
            continue
        sigma, exact_seconds = timed(partial(jacobian_singular_values, model, x))
        runs = [timed(partial(estimate, seed)) for seed in range(args.seeds)]
        seconds = sorted(s for _, s in runs)[len(runs) // 2]
        mean = torch.stack([(e.mean / sigma.mean(1) - 1) for e, _ in runs])  # [seeds, samples]
        top = torch.stack([(e.max / sigma[:, 0] - 1) for e, _ in runs]).abs()
        bar = torch.stack([e.mean_error for e, _ in runs]) / sigma.mean(1)
        told = torch.stack([e.mean.mean() / sigma.mean() - 1 for e, _ in runs])
        print(
            f"{name} at {args.size}, {args.samples} samples: exact {exact_seconds:.2f} s, estimate "
            f"{seconds:.2f} s (1/{exact_seconds / seconds:.1f}), {runs[0][0].products} products a sample\n  "
            f"a sample's mean: within 3 % {(mean.abs() < 0.03).double().mean():.1%}, error "
            f"{mean.mean():+.2%} ± {mean.std():.2%}, largest {mean.abs().max():.2%}; bar {bar.mean():.2%}, "
            f"covers {(mean.abs() <= bar).double().mean():.1%}\n  all samples' mean: seeds within 3 %: "
            f"{int((told.abs() < 0.03).sum())} of {args.seeds}\n  a sample's max: within 1 % "
            f"{(top < 0.01).double().mean():.1%}, largest error {top.max():.2%}; seeds with every sample "
            f"within 1 %: {int((top < 0.01).all(1).sum())} of {args.seeds}"
        )


if __name__ == "__main__":
    main()
