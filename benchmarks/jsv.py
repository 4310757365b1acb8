"""Exact Jacobian singular values: ours against the published way and vmap(jacrev); memory; cost by size.

    python benchmarks/jsv.py              the table, median of 7, the three ways in turn
    python benchmarks/jsv.py --scaling    time against width, depth, outputs and samples -> jsv_scaling.svg

The published way is one backward per output, gradients of parameters and all, then the SVD of J with its
vectors (Wang et al., 2021). Set OMP_NUM_THREADS for the number of threads.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

from isoprune.experiment.memory import growth
from isoprune.isometry import jacobian_singular_values
from isoprune.models import build

NETWORKS = {
    "mlp_7 linear": ("mlp_7", {"activation": "linear"}, (1, 32, 32), 100),
    "mlp_7 relu": ("mlp_7", {"activation": "relu"}, (1, 32, 32), 100),
    "lenet_5 linear": ("lenet_5", {"activation": "linear"}, (1, 32, 32), 100),
    "lenet_5 relu": ("lenet_5", {"activation": "relu"}, (1, 32, 32), 100),
    "resnet_small": ("resnet_small", {}, (3, 32, 32), 16),
}


def published(model, x):
    x = x.clone().requires_grad_()
    y = model(x)
    rows = []
    for c in range(y.shape[1]):
        x.grad = None
        y[:, c].sum().backward(retain_graph=True)
        rows.append(x.grad.flatten(1))
    model.zero_grad()
    return torch.linalg.svd(torch.stack(rows, 1), full_matrices=False)[1]


def vmap_jacrev(model, x):
    state = {name: t.detach() for name, t in [*model.named_parameters(), *model.named_buffers()]}

    def one(z):
        return torch.func.functional_call(model, state, (z[None],))[0]

    return torch.linalg.svdvals(torch.func.vmap(torch.func.jacrev(one))(x).flatten(2))


WAYS = {"ours": jacobian_singular_values, "published": published, "vmap(jacrev)": vmap_jacrev}


def network(name):
    kind, options, shape, samples = NETWORKS[name]
    generator = torch.Generator().manual_seed(0)
    model = build(kind, shape, 10, generator=generator, **options).eval()
    return model, torch.randn(samples, *shape, generator=generator)


def table(repeats):
    print(
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}; milliseconds, median of {repeats}"
    )
    print(
        f"{'network':16}{'samples':>8}"
        + "".join(f"{way:>14}" for way in WAYS)
        + "   published/ours  largest difference"
    )
    for name in NETWORKS:
        model, x = network(name)
        results = {way: f(model, x) for way, f in WAYS.items()}  # warm up, and compare
        times = {way: [] for way in WAYS}
        for _ in range(repeats):
            for way, f in WAYS.items():
                start = time.perf_counter()
                f(model, x)
                times[way].append(1e3 * (time.perf_counter() - start))
        median = {way: sorted(t)[repeats // 2] for way, t in times.items()}
        off = max(float((r - results["ours"]).abs().max() / results["ours"].max()) for r in results.values())
        print(
            f"{name:16}{len(x):8}" + "".join(f"{median[way]:14.1f}" for way in WAYS)
            + f"{median['published'] / median['ours']:15.1f} x{off:18.1e}"
        )  # fmt: skip


def peak(name, memory):
    """Print by how many bytes the peak of the process grew while measuring within ``memory``."""
    torch.set_num_threads(1)
    model, x = network(name)
    x = x.repeat(max(100 // len(x), 1), *[1] * (x.ndim - 1))
    jacobian_singular_values(model, x, memory=memory)  # libraries are loaded, kernels compiled
    with growth() as grown:
        jacobian_singular_values(model, x, memory=memory)
    print(*grown)


def memory_table():
    print("\nPeak memory against the bound asked for (about 100 samples), MB")
    for name in ("mlp_7 relu", "lenet_5 relu", "resnet_small"):
        cells = []
        for asked in (16, 32, 64, 256):
            command = [sys.executable, __file__, "--peak", name, str(asked * 10**6)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            cells.append(
                f"{asked} -> {int(done.stdout) / 1e6:.1f}" if done.returncode == 0 else f"{asked} refused"
            )
        print(f"{name:16}" + "".join(f"{cell:>18}" for cell in cells))


def mlp(width, depth, outputs):
    layers = [nn.Flatten(), nn.Linear(1024, width)]
    for _ in range(depth - 2):
        layers += [nn.ReLU(), nn.Linear(width, width)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(width, outputs)).eval()


def scaling(path):
    base = {"width": 256, "depth": 7, "outputs": 32, "samples": 32}
    sweeps = {
        "width": (256, 512, 1024, 2048, 4096),
        "depth": (8, 16, 32, 64, 128),
        "outputs": (32, 64, 128, 256, 512),
        "samples": (32, 64, 128, 256, 512),
    }
    rows = []
    for axis, values in sweeps.items():
        for value in values:
            size = base | {axis: value}
            model = mlp(size["width"], size["depth"], size["outputs"])
            x = torch.randn(size["samples"], 1, 32, 32)
            jacobian_singular_values(model, x)
            times = []
            for _ in range(3):
                start = time.perf_counter()
                jacobian_singular_values(model, x)
                times.append(time.perf_counter() - start)
            rows.append({"axis": axis, "value": value, "seconds": sorted(times)[1]})
        swept = rows[-len(values) :]
        slope, _ = fit(swept)
        told = "  ".join(f"{r['value']}: {r['seconds']:.3f} s" for r in swept)
        print(f"{axis:8} time ~ {axis}^{slope:.2f}   {told}")
    Path(path).with_suffix(".json").write_text(json.dumps(rows, indent=1))
    draw(rows, path)
    print(f"-> {path}")


def fit(swept):
    """Return exponent and factor of the power law through the last three; small sizes measure overhead."""
    x = [math.log(r["value"]) for r in swept[-3:]]
    y = [math.log(r["seconds"]) for r in swept[-3:]]
    mean_x, mean_y = sum(x) / 3, sum(y) / 3
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    slope /= sum((a - mean_x) ** 2 for a in x)
    return slope, math.exp(mean_y - slope * mean_x)


def draw(rows, path):
    """Draw the measured times as points, the fitted power laws as lines with their exponents."""
    import altair as alt

    from isoprune.reporting import theme

    y = alt.Y("seconds:Q", scale=alt.Scale(type="log", domain=[0.01, 12], nice=False), title="seconds")
    y = y.axis(values=[0.01, 0.1, 1, 10], format="~g")
    panels = []
    for axis in dict.fromkeys(r["axis"] for r in rows):
        swept = [r for r in rows if r["axis"] == axis]
        slope, factor = fit(swept)
        values = [r["value"] for r in swept]
        scale = alt.Scale(type="log", domain=[values[0] / 1.3, values[-1] * 1.3], nice=False)
        x = alt.X("value:Q", title=axis, scale=scale).axis(values=values, format="d")
        fitted = [{"value": v, "seconds": factor * v**slope} for v in values]
        line = alt.Chart(alt.Data(values=fitted)).mark_line(strokeWidth=2, opacity=0.6, color=theme.BLUE)
        point = alt.Chart(alt.Data(values=swept)).mark_point(size=50, filled=True, opacity=1, color=theme.RED)
        title = alt.TitleParams(f"time ~ {axis}^{slope:.2f}", fontSize=13)
        panels.append(
            alt.layer(line.encode(x=x, y=y), point.encode(x=x, y=y), title=title).properties(width=170)
        )
    size = (
        "width 256, depth 7, 32 outputs and 32 samples, but for the one that varies; lines fit the last three"
    )
    title = alt.TitleParams("Exact singular values of an MLP on 1024 inputs", subtitle=size, offset=24)
    made = alt.concat(*panels, columns=4, title=title)
    made.properties(config=alt.Config.from_dict(theme.config() | {"background": "white"})).save(path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--out", default="jsv_scaling.svg")
    parser.add_argument("--peak", nargs=2, metavar=("NETWORK", "BYTES"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        peak(args.peak[0], int(args.peak[1]))
    elif args.scaling:
        scaling(args.out)
    else:
        table(args.repeats)
        memory_table()


if __name__ == "__main__":
    main()
