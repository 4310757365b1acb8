"""`isoprune prune MODEL --data DATA`: prune, repair, find the learning rate, retrain, export; one folder.

The folder holds the small network (network/), the page (index.html), the record, and the store of all stages
(runs/), from which an interrupted command goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from isoprune.cli.prune_told import latency_table, megabytes
from isoprune.cli.work import output_console, stage_table
from isoprune.errors import IsopruneError

RECIPE, RECORD, PAGE, NETWORK, RUNS = "recipe.json", "record.json", "index.html", "network", "runs"
_OURS = frozenset({RECIPE, RECORD, PAGE, NETWORK, RUNS})
Stage = Callable[[str], None]


def carry_out(args: argparse.Namespace, how: Mapping[str, Any], shape: list[int] | None, stage: Stage) -> int:
    """Do all of it, or what is left of it, and say what came out."""
    from isoprune.experiment import pipeline
    from isoprune.experiment.choice import resolve
    from isoprune.experiment.config import experiment
    from isoprune.experiment.grid import override
    from isoprune.experiment.store import Store

    stage("reading what is to be done")
    out = args.out or Path(f"{_short(args.source)}-pruned")
    _check_folder(out)
    found = _read(out / RECIPE)
    asked = {
        "source": args.source,
        "data": args.data,
        "target": dict(how),
        "shape": shape,
        "set": args.settings,
    }
    table = found["table"] if found and found["asked"] == asked else _table(args, how, shape, stage)
    table = override(table, args.settings)
    chosen = resolve(experiment(table))
    if found and found["config"] != chosen.as_dict():
        raise IsopruneError(
            f"{out} holds another recipe: {_first_difference(found['config'], chosen.as_dict())}. "
            "Give another --out, or delete that folder."
        )
    _write(out / RECIPE, {"asked": asked, "table": table, "config": chosen.as_dict()})
    store = Store(out / RUNS)
    record = pipeline.run(chosen, store, name=_short(args.source), on_event=lambda event: stage(_said(event)))
    record, times, lines = _delivered(args, record, store, out, stage)
    _write(out / RECORD, record)
    stage("drawing the page")
    from isoprune.reporting import explain, report

    page = report([record], out / PAGE, title=f"{_short(args.source)}, pruned")
    console = output_console()
    console.print(stage_table(record))
    console.print(times)
    for line in (_outcome(record), *explain([record])[:2], *lines, f"Page: {page}"):
        console.print(line, markup=False, soft_wrap=True)
    return 0


def _table(
    args: argparse.Namespace, how: Mapping[str, Any], shape: list[int] | None, stage: Stage
) -> dict[str, Any]:
    """Return the recipe's table; a target in time is brought to a ratio by measuring."""
    from isoprune.experiment.recipe import recipe

    options = {"scope": args.scope, "allocation": args.allocation, "round_to": args.round_to}
    options |= {"floor": args.floor, "cap": args.cap}
    target = dict(how)
    if "latency" in target:
        target = {"ratio": _ratio_in_time(args, target["latency"], shape, stage)}
    if isinstance(target.get("ratio"), dict):
        raise IsopruneError(
            "--only does not go with --data. Give one --ratio, --flops, --parameters or --latency; or prune "
            "by name alone."
        )
    weights = {} if args.weights is None else {"weights": str(args.weights)}
    _require_trained(args)
    return recipe(
        model={"name": args.source, **weights},
        data=_data(args, shape),
        prune={**target, "criterion": args.criterion, **options},
        epochs=args.epochs,
        dense_epochs=args.dense_epochs,
        seed=args.seed,
    )


def _require_trained(args: argparse.Namespace) -> None:
    from isoprune.experiment.opened import LIBRARIES
    from isoprune.models import MODELS

    drawn = args.source in MODELS or args.source.partition(":")[0] in LIBRARIES
    if drawn and args.weights is None and not args.dense_epochs:
        raise IsopruneError(
            f"The weights of {args.source} are random, and pruning starts from a trained network. Give them: "
            "--weights FILE, or train it first: --dense-epochs 10."
        )


def _data(args: argparse.Namespace, shape: list[int] | None) -> dict[str, Any]:
    from isoprune.cli.data_choice import is_folder, read_choice

    if not is_folder(args.data):
        return read_choice(args.data, "--data", '{name = "fashion_mnist", limit = 10000}').as_dict()
    channels, height, width = shape[1:] if shape and len(shape) == 4 else _takes(args.source)
    if height != width:
        raise IsopruneError(
            f"{args.source} takes images of {height} x {width} pixels, and image_folder gives squares. Give "
            "--shape, or a data set of your own: --data my_package.module:function."
        )
    return {"name": "image_folder", "root": args.data, "size": height, "channels": channels}


def _takes(source: str) -> tuple[int, int, int]:
    from isoprune.export import open_source

    if ":" not in source:
        return 3, 32, 32
    inputs = open_source(source).example_inputs
    shape = getattr(inputs, "shape", ())
    if len(shape) != 4:
        raise IsopruneError(f"{source} does not say that it takes images. Give --shape 1,3,224,224.")
    return tuple(shape[1:])


def _ratio_in_time(args: argparse.Namespace, share: float, shape: list[int] | None, stage: Stage) -> float:
    from isoprune.export import open_source, prune_in_time
    from isoprune.pruning import prune

    source = open_source(args.source, shape=shape, weights=args.weights, seed=args.seed)
    options = {"scope": args.scope, "allocation": args.allocation, "round_to": args.round_to}
    result = prune_in_time(
        lambda ratio: prune(
            source.model, source.example_inputs, ratio, floor=args.floor, cap=args.cap, **options
        ),
        source.model,
        source.example_inputs,
        share,
        backend=args.latency_backend,
        threads=args.threads,
        on_backend=lambda backend: stage(f"looking for the ratio, timing on {backend}"),
    )
    return result.plan.asked["ratio"]


def _delivered(
    args: argparse.Namespace, record: dict[str, Any], store: Any, out: Path, stage: Stage
) -> tuple[dict[str, Any], Any, list[str]]:
    """Save, export and time the small network; return the record with its times, their table, and lines."""
    from dataclasses import replace

    import torch

    from isoprune.experiment.networks import load_network, plan_of
    from isoprune.export import export_onnx, latency, save
    from isoprune.export.folder import ONNX, WEIGHTS
    from isoprune.export.onnx import installed
    from isoprune.graph import trace
    from isoprune.pruning import PruneResult, Verification

    folders = {name: store.folder(name, digest) for name, digest in record["networks"].items()}
    dense, _ = load_network(folders["dense"])
    last = "retrained" if "retrained" in folders else "repaired"
    small, facts = load_network(folders[last])
    _, pruned = load_network(folders["pruned"])
    example = torch.randn(2, *facts["in_shape"], generator=torch.Generator().manual_seed(args.seed))
    stage("saving")
    result = PruneResult(
        small,
        plan_of(pruned),
        trace(dense, example),
        pruned["realised"],
        Verification(**pruned["verification"]),
    )
    save(replace(result, model=small), out / NETWORK, dense=dense, source=args.source)
    size = (out / NETWORK / WEIGHTS).stat().st_size
    lines = [f"Network: {out / NETWORK} ({megabytes(size)})"]
    backends = ["eager"]
    if installed():
        stage("exporting to ONNX")
        done = export_onnx(small, example, out / NETWORK / ONNX)
        lines.append(f"ONNX: {done['path']}, differs from torch by {done['max_abs_error']:.2g} at most.")
        backends.append("onnxruntime")
    else:
        lines.append("ONNX: not written, onnx is not installed: pip install 'isoprune[export]'.")
    report = latency(
        {"dense": dense, "pruned": small},
        example[:1],
        backends=backends,
        threads=args.threads,
        on_backend=lambda backend: stage(f"timing on {backend}"),
    )
    return {**record, "latency": report.as_rows()}, latency_table(report), lines


def _outcome(record: Mapping[str, Any]) -> str:
    stages = record["stages"]
    dense, last = stages["dense"], stages[list(stages)[-1]]
    said = (
        f"Test accuracy {dense['test_accuracy']:.2%} -> {last['test_accuracy']:.2%} with "
        f"{last['flops'] / dense['flops']:.0%} of the FLOPs and "
        f"{last['parameters'] / dense['parameters']:.0%} of the parameters."
    )
    advice = record.get("advice")
    if advice is None:
        return said
    given_up = "".join(f"; {lr:g} was tried and given up" for lr in advice["given_up"])
    return f"{said} Learning rate: {advice['lr']:g}, of {len(advice['probes'])} probed{given_up}."


def _said(event: Mapping[str, Any]) -> str:
    if "probe" in event:
        return f"looking for the learning rate: {event['probe']} of {event['probes']} rates tried"
    return f"{event['stage']} network: epoch {event['epoch']} of {event['epochs']}"


def _short(source: str) -> str:
    import re

    name = source.partition(":")[2] or source
    return re.sub(r"[^\w.-]+", "_", name).strip("_.") or "network"


def _check_folder(out: Path) -> None:
    if out.is_file():
        raise IsopruneError(f"{out} is a file. Give a directory: --out DIR.")
    if out.is_dir() and (names := sorted(p.name for p in out.iterdir() if p.name not in _OURS)):
        raise IsopruneError(
            f"{out} holds {names[0]}, which no recipe wrote. Give a new or an empty directory: --out DIR."
        )


def _read(file: Path) -> dict[str, Any] | None:
    from isoprune.experiment.files import read_json

    try:
        return read_json(file, remedy="Delete its folder and start again.")
    except FileNotFoundError:
        return None


def _write(file: Path, content: Mapping[str, Any]) -> None:
    from isoprune.experiment.files import explained, write_json

    with explained(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, dict(content))


def _first_difference(a: Any, b: Any, key: str = "") -> str:
    if isinstance(a, dict) and isinstance(b, dict):
        for name in dict.fromkeys([*a, *b]):
            if a.get(name) != b.get(name):
                return _first_difference(a.get(name), b.get(name), f"{key}.{name}".lstrip("."))
    return f"{key} is {json.dumps(a)} there and {json.dumps(b)} here"
