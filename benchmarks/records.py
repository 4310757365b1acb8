"""How long do thousands of records take: a table of them, their page, and that page in a browser?

One real run is made on the digits and written again under other networks, ratios, repairs, rates and seeds,
its accuracies drawn at random. Every command is timed as a whole, in a process of its own, as a user waits
for it: the first reading of the files (cold) and the median of the rest. The browser is a real one, from
the address to all of the page being loaded, and to its first chart being drawn.

    python benchmarks/records.py --records 10000 --repeats 5
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import itertools
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from msgspec.structs import replace

from isoprune.experiment.config import experiment
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store
from isoprune.types.json_files import write_json

WANTED = {"table": 2.0, "comparison": 10.0, "page opened": 3.0, "page size": 20.0}  # s, s, MB
ACTIVATIONS = ("linear", "relu")
REPAIRS = (
    "none",
    "orthp",
    "polar",
    "spectrum",
    "rescale",
    "lsuv",
    "balance",
    "reconstruct",
    "auto",
    "scratch",
)
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
RATES = (0.1, 0.03, 0.01, 0.003, 0.001)


def template(folder):
    """Return the record of a real run of ten epochs."""
    table = {
        "data": {"name": "digits", "limit": 300, "size": 8},
        "model": {"name": "mlp_7", "activation": "relu"},
        "dense": {"epochs": 10, "lr": 0.01},
        "prune": {"ratio": 0.5},
        "retrain": {"epochs": 10, "lr": 0.01},
    }
    return run(experiment(table), Store(folder), name="template")


def write(record, root, wanted):
    """Write so many records into a store; seeds go round last."""
    draw = random.Random(0)
    places = (
        (seed, *place)
        for seed in itertools.count()
        for place in itertools.product(ACTIVATIONS, RATIOS, REPAIRS, RATES)
    )
    for seed, activation, ratio, repair, rate in itertools.islice(places, wanted):
        networks, config = copy.deepcopy(record.networks), copy.deepcopy(record.config)
        config["seed"], config["model"]["activation"], config["repair"] = seed, activation, {"name": repair}
        config["prune"]["ratio"], config["retrain"]["lr"] = ratio, rate
        for network in networks:
            # All runs of a seed begin at one dense network, or no two could be compared.
            accuracy = 0.9 + 0.001 * seed if network.role == "dense" else draw.random()
            network.metrics.update(test_accuracy=accuracy, validation_accuracy=accuracy)
        for epoch in networks[-1].history:
            epoch["validation_accuracy"] = draw.random()
        digest = hashlib.sha256(repr(config).encode()).hexdigest()[:16]
        made = replace(record, digest=digest, config=config, networks=networks)
        folder = root / "runs" / digest
        folder.mkdir(parents=True)
        write_json(folder / "record.json", msgspec.to_builtins(made))


def seconds(*argv):
    began = time.perf_counter()
    program = Path(sys.executable).with_name("isoprune")
    subprocess.run([program, *map(str, argv)], check=True, capture_output=True)
    return time.perf_counter() - began


def opened(page):
    """Return the seconds until a browser has loaded the page, and until its first chart is drawn."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        began = time.perf_counter()
        tab.goto(page.resolve().as_uri())
        loaded = time.perf_counter() - began
        chart = tab.locator(".chart").first
        chart.scroll_into_view_if_needed()
        chart.locator("svg.marks").wait_for()
        drawn = time.perf_counter() - began
        browser.close()
    return loaded, drawn


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store, page = Path(folder) / "runs", Path(folder) / "page.html"
        write(template(Path(folder) / "one"), store, args.records)
        size = sum(file.stat().st_size for file in store.rglob("record.json"))
        print(f"{args.records:,} records, {size / 1e6:.0f} MB\n")
        table = (
            "report",
            store,
            "--rows",
            "ratio",
            "--columns",
            "model,repair,lr",
            "--value",
            "test_accuracy",
        )
        tables = [seconds(*table) for _ in range(args.repeats + 1)]
        version = statistics.median(seconds("--version") for _ in range(args.repeats))
        compared = seconds("compare", store, "--without", "scratch")
        made = seconds("report", store, "--out", page)
        megabytes = page.stat().st_size / 1e6
        looks = [opened(page) for _ in range(args.repeats)]
        print("| what | measured | wanted |\n|---|---:|---:|")
        print(f"| isoprune --version: Python and nothing | {version:.2f} s | |")
        print(f"| table, first time | {tables[0]:.2f} s | |")
        again = statistics.median(tables[1:])
        print(f"| table, median of {args.repeats} | {again:.2f} s | < {WANTED['table']:g} s |")
        print(f"| compare, scratch aside | {compared:.1f} s | < {WANTED['comparison']:g} s |")
        print(f"| page, made | {made:.1f} s | |")
        print(f"| page, size | {megabytes:.1f} MB | < {WANTED['page size']:g} MB |")
        if None not in looks:
            loaded, drawn = (statistics.median(times) for times in zip(*looks, strict=True))
            print(f"| page, loaded in a browser | {loaded:.2f} s | |")
            print(f"| page, first chart drawn | {drawn:.2f} s | < {WANTED['page opened']:g} s |")


if __name__ == "__main__":
    main()
