"""From the wheel to a pruned network of one's own, in an empty environment: how long, and what it brings.

    python benchmarks/wheel.py [--keep DIR]

Builds the wheel, makes a virtual environment outside the repository, installs the wheel with plain pip (torch
from wherever pip is set to look), runs ten lines on a network of its own there and then the commands; each is
timed. What is missing in the wheel (a template, a published number) fails here, not in the source tree.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
TEN_LINES = """\
import isoprune, torch
from torch.nn import *
model = Sequential(Conv2d(3, 32, 3), ReLU(), AdaptiveAvgPool2d(4), Flatten(), Linear(512, 10))
images, labels = torch.randn(256, 3, 32, 32), torch.randint(0, 10, (256,))
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=32)
small = isoprune.prune(model, images[:2], ratio=0.5)
small = isoprune.repair(small, batches=loader)
small = isoprune.retrain(small, train=loader, validation=loader, lr=0.01, epochs=1)
isoprune.save(small, "small/")
print(small)
"""
# Each reads files that only the wheel brings: templates, published numbers, tables of methods.
COMMANDS = (
    ("isoprune", "--help"),
    ("isoprune", "methods"),
    ("isoprune", "demo", "--out", "demo"),
    ("isoprune", "report", "demo/runs", "--out", "page.html", "--figures", "svg"),
    ("isoprune", "diagnose", "--help"),
    ("isoprune", "reproduce", "--help"),
)


def timed(name: str, command: list[str], where: Path, rows: list[tuple[str, float, float]]) -> str:
    """Run a command in an environment that knows nothing of the source tree; its standard output."""
    known = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    began, used = time.perf_counter(), sum(os.times()[2:4])
    done = subprocess.run(command, cwd=where, env=known, capture_output=True, text=True, check=False)
    rows.append((name, time.perf_counter() - began, sum(os.times()[2:4]) - used))
    if done.returncode:
        sys.exit(f"{name} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def megabytes(site: Path) -> list[tuple[str, float]]:
    """Return what was installed: top folders of site-packages and their megabytes, the largest first."""
    sizes = {
        each.name: sum(f.stat().st_size for f in each.rglob("*") if f.is_file()) / 2**20
        for each in site.iterdir()
        if each.is_dir() and not each.name.endswith(".dist-info")
    }
    return sorted(sizes.items(), key=lambda item: -item[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it")
    args = parser.parse_args()
    rows: list[tuple[str, float, float]] = []
    with tempfile.TemporaryDirectory() as temporary:
        work = (args.keep or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", str(ROOT), "-w", str(work)]
        timed("build the wheel", build, work, rows)
        [wheel] = work.glob("isoprune-*.whl")
        venv.create(work / "env", with_pip=True)
        bin_ = work / "env" / "bin"
        timed("pip install the wheel", [str(bin_ / "pip"), "install", "--quiet", str(wheel)], work, rows)
        (work / "ten_lines.py").write_text(TEN_LINES, encoding="utf-8")
        shown = timed("the ten lines", [str(bin_ / "python"), "ten_lines.py"], work, rows)
        for name, *options in COMMANDS:
            timed(" ".join((name, *options)), [str(bin_ / name), *options], work, rows)
        [site] = (work / "env" / "lib").glob("python*/site-packages")
        installed = megabytes(site)
        size = f"{wheel.stat().st_size / 1024:.0f} kB"
        table = Table("step", "seconds", "CPU seconds", box=None, title=f"{wheel.name}, {size}")
        for name, seconds, used in rows:
            table.add_row(name, f"{seconds:.1f}", f"{used:.1f}")
        largest = ", ".join(f"{name} {size:.0f}" for name, size in installed[:12])
    console = Console(width=110)
    console.print(table)
    console.print(f"{sum(size for _, size in installed):,.0f} MB installed; largest: {largest}")
    console.print(shown)


if __name__ == "__main__":
    main()
