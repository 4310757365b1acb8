"""What each criterion costs on a large network: seconds of the processor and peak memory, a process each.

    python benchmarks/criteria.py                               resnet50 at 224 x 224, 64 images
    python benchmarks/criteria.py --criteria obs kron_obs --limit 600
    python benchmarks/criteria.py --criteria obd --set draws=4        with an option of the criterion

Each prunes half of torchvision's network (of weights drawn anew) by `isoprune.prune`: of channels where it
knows them, else of weights (by masks), with its defaults and what ``--set`` gives. The time of l1_norm is
that of all the rest: recording, planning, shrinking, proving. A criterion that refuses says what to lower;
one that takes more than ``--limit`` seconds or ``--gigabytes`` is ended.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from functools import partial
from typing import Any

import torch
import torchvision

import isoprune
from isoprune.methods.criteria import CRITERIA
from isoprune.types import IsopruneError
from isoprune.types.method import method_of


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--limit", type=int, default=120, help="seconds of the processor for each")
    parser.add_argument("--gigabytes", type=float, default=12.0, help="that each may take")
    parser.add_argument("--criteria", nargs="+", default=[name for name in CRITERIA if name != "karnin"])
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="options of the criteria")
    parser.add_argument("--one", help="measure this one here")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options)))
        return
    print("| criterion | grain | seconds | peak GB | |\n|---|---|---:|---:|---|", flush=True)
    for name in options.criteria:
        same = ["--network", options.network, "--size", str(options.size), "--images", str(options.images)]
        same += ["--set", *options.set] if options.set else []
        command = [sys.executable, __file__, "--one", name, "--limit", str(options.limit), *same]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            told = (done.stderr.strip().splitlines() or [f"ended by signal {-done.returncode}"])[-1]
            print(f"| `{name}` | {grain_of(name)} | – | – | {told} |", flush=True)
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        took = f"{found['seconds']:.0f} | {found['gigabytes']:.1f}"
        print(f"| `{name}` | {grain_of(name)} | {took} | {found['said']} |", flush=True)


def grain_of(name: str) -> str:
    return "channel" if "channel" in method_of(CRITERIA[name]).grains else "weight"


def measured(options: argparse.Namespace) -> dict[str, Any]:
    resource.setrlimit(resource.RLIMIT_CPU, (options.limit + 20, options.limit + 20))  # 20 s of imports
    # An allocation beyond that fails, in place of the machine.
    resource.setrlimit(resource.RLIMIT_DATA, (int(1e9 * options.gigabytes),) * 2)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = getattr(torchvision.models, options.network)().eval()
    x = torch.randn(options.images, 3, options.size, options.size, generator=generator)
    y = torch.randint(1000, (options.images,), generator=generator)
    batches = list(zip(x.split(8), y.split(8), strict=True))
    given = dict(one.split("=", 1) for one in options.set)
    criterion = partial(CRITERIA[options.one], **{name: json.loads(value) for name, value in given.items()})
    began, said = time.process_time(), ""
    try:
        isoprune.prune(model, x[:1], 0.5, criterion=criterion, grain=grain_of(options.one), batches=batches)
    except IsopruneError as error:
        said = f"refused: {error}"
    seconds = time.process_time() - began
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "gigabytes": kilobytes * 1024 / 1e9, "said": said}


if __name__ == "__main__":
    main()
