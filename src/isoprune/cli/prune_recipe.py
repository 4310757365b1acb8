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

from isoprune.cli.prune_delivered import NETWORK, RECORD, delivered
from isoprune.cli.prune_told import latency_table, listed
from isoprune.cli.work import output_console, stage_table
from isoprune.types.errors import IsopruneError

RECIPE, PAGE, RUNS = "recipe.json", "index.html", "runs"
_OURS = (RECIPE, RECORD, PAGE, NETWORK, RUNS)
# What of the command line the recipe is made from, besides the target and the settings.
_ASKED = ("source", "data", "epochs", "dense_epochs", "seed")
_PRUNING = ("criterion", "scope", "allocation", "round_to", "floor", "cap")
Stage = Callable[[str], None]


def carry_out(args: argparse.Namespace, how: Mapping[str, Any], shape: list[int] | None, stage: Stage) -> int:
    """Do all of it, or what is left of it, and say what came out."""
    from isoprune.experiment import pipeline
    from isoprune.experiment.store import Store
    from isoprune.export.sources import short_name

    stage("reading what is to be done")
    name = short_name(args.source)
    out = args.out or Path(f"{name}-pruned")
    _check(args, how, out)
    chosen = _chosen(args, how, shape, out, stage)
    store = Store(out / RUNS)
    record = pipeline.run(chosen, store, name=name, on_event=lambda event: stage(_said(event)))
    record, lines = delivered(args, record, store, out, stage)
    stage("drawing the page")
    from isoprune.reporting import explain, report

    page = report([record], out / PAGE, title=f"{name}, pruned")
    console = output_console()
    console.print(stage_table(record))
    console.print(latency_table(record["latency"]))
    for line in (_outcome(record), *explain([record])[:2], *lines, f"Page: {page}"):
        console.print(line, markup=False, soft_wrap=True)
    return 0


def _check(args: argparse.Namespace, how: Mapping[str, Any], out: Path) -> None:
    """Raise for what is wrong whatever network and data are."""
    from isoprune.export.backends import check_backends
    from isoprune.export.folder import check_target
    from isoprune.export.onnx import needed

    if isinstance(how.get("ratio"), dict):
        raise IsopruneError(
            "--only does not go with --data. Give one --ratio, --flops, --parameters or --latency; or prune "
            "by name alone."
        )
    check_backends([*listed(args.latency_report), *filter(None, [args.latency_backend])], args.threads)
    if args.onnx:
        needed()
    if out.is_file():
        raise IsopruneError(f"{out} is a file. Give a directory: --out DIR.")
    foreign = sorted(p.name for p in out.iterdir() if not _ours(p.name)) if out.is_dir() else []
    if foreign:
        raise IsopruneError(
            f"{out} holds {foreign[0]}, which no recipe wrote. Give a new or an empty directory: --out DIR."
        )
    check_target(out / NETWORK)


def _ours(name: str) -> bool:
    # ".network.123.part" and the like are what a killed command was just writing.
    return name in _OURS or any(name.startswith(f".{own}.") for own in _OURS)


def _chosen(
    args: argparse.Namespace, how: Mapping[str, Any], shape: list[int] | None, out: Path, stage: Stage
) -> Any:
    """Return the experiment, which the folder is from now on about; nothing else is written before that.

    Raises:
        IsopruneError: If it is about another one already, or network and data do not fit together.
    """
    from isoprune.experiment.config import experiment
    from isoprune.experiment.data_fit import fitting
    from isoprune.experiment.grid import override
    from isoprune.experiment.signatures import resolve
    from isoprune.types.files import explained, read_json, write_json

    asked = {key: getattr(args, key) for key in (*_ASKED, *_PRUNING)}
    asked |= {"target": dict(how), "shape": shape, "set": args.settings}
    asked["weights"] = None if args.weights is None else str(args.weights)
    remedy = "Give another --out, or delete that folder."
    try:
        found = read_json(out / RECIPE, remedy=f"Delete {out} and start again.")
    except FileNotFoundError:
        found = None
    same = found is not None and found["asked"] == asked
    if found and not same and "latency" in (how | found["asked"]["target"]):
        # Measured again it would be another ratio, so what was asked decides.
        raise IsopruneError(f"{out} holds another recipe: {_difference(found['asked'], asked)}. {remedy}")
    table = found["table"] if found and same else _table(args, how, shape)
    chosen = resolve(experiment(override(table, args.settings)))
    if found is None:
        _check_trainings(args, chosen)
        stage("reading the data")
        model, splits = fitting(chosen)
        if "latency" in how:
            table["prune"]["ratio"] = _ratio_in_time(args, how["latency"], model, splits, stage)
            chosen = resolve(experiment(override(table, args.settings)))
    elif found["config"] != chosen.as_dict():
        told = _difference(found["config"], chosen.as_dict())
        raise IsopruneError(f"{out} holds another recipe: {told}. {remedy}")
    else:
        return chosen
    with explained(out):
        write_json(out / RECIPE, {"asked": asked, "table": table, "config": chosen.as_dict()})
    return chosen


def _table(args: argparse.Namespace, how: Mapping[str, Any], shape: list[int] | None) -> dict[str, Any]:
    """Return the recipe's table; a target in time has no ratio yet."""
    from isoprune.experiment.recipe import recipe

    target = {"ratio": 0.0} if "latency" in how else dict(how)
    weights = {} if args.weights is None else {"weights": str(args.weights)}
    return recipe(
        model={"name": args.source, **weights},
        data=_data(args, shape),
        prune={**target, **{key: getattr(args, key) for key in _PRUNING}},
        epochs=args.epochs,
        dense_epochs=args.dense_epochs,
        seed=args.seed,
    )


def _check_trainings(args: argparse.Namespace, chosen: Any) -> None:
    from isoprune.experiment.foreign_models import LIBRARIES
    from isoprune.models import MODELS

    if not chosen.retrain.epochs:
        raise IsopruneError(
            "retrain.epochs is 0, and with --data the network is retrained. Give --epochs 1 or more, or "
            "leave out --data to prune alone."
        )
    drawn = args.source in MODELS or args.source.partition(":")[0] in LIBRARIES
    if drawn and chosen.model.options.get("weights", "none") == "none" and not chosen.dense.epochs:
        raise IsopruneError(
            f"The weights of {args.source} are random, and pruning starts from a trained network. Give them: "
            "--weights FILE, or train it first: --dense-epochs 10."
        )


def _data(args: argparse.Namespace, shape: list[int] | None) -> dict[str, Any]:
    from isoprune.cli.data_choice import images_of, is_folder, read_choice

    if not is_folder(args.data):
        return read_choice(args.data, "--data", '{name = "fashion_mnist", limit = 10000}').as_dict()
    takes = shape[1:] if shape and len(shape) == 4 else _takes(args.source)
    return images_of(args.data, takes, args.source).as_dict()


def _takes(source: str) -> tuple[int, int, int]:
    from isoprune.export import open_source

    if ":" not in source:
        return 3, 32, 32
    inputs = open_source(source).example_inputs
    shape = getattr(inputs, "shape", ())
    if len(shape) != 4:
        raise IsopruneError(f"{source} does not say that it takes images. Give --shape 1,3,224,224.")
    return tuple(shape[1:])


def _ratio_in_time(args: argparse.Namespace, share: float, model: Any, splits: Any, stage: Stage) -> float:
    """Return the ratio at which one sample takes ``share`` of the dense network's time."""
    import torch

    from isoprune.export import prune_in_time
    from isoprune.types.samples import inputs_at
    from isoprune.verbs import prune

    one = inputs_at(splits.validation, torch.arange(1))
    # Time depends on how many channels stay, so the weights' own scores will do before any training.
    options = {key: getattr(args, key) for key in _PRUNING if key != "criterion"}
    result = prune_in_time(
        lambda ratio: prune(model, one, ratio, **options),
        model,
        one,
        share,
        backend=args.latency_backend,
        threads=args.threads,
        on_backend=lambda backend: stage(f"looking for the ratio, timing on {backend}"),
    )
    return result.plan.request["ratio"]


def _outcome(record: Mapping[str, Any]) -> str:
    stages = record["stages"]
    dense, last = stages["dense"], stages["retrained"]
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
        return f"looking for the learning rate: {event['probe']} of at most {event['probes']} rates tried"
    return f"{event['stage']} network: epoch {event['epoch']} of {event['epochs']}"


def _difference(there: Any, here: Any, key: str = "") -> str:
    """Return the first key at which two tables differ, and both values."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in dict.fromkeys([*there, *here]):
            if there.get(name) != here.get(name):
                return _difference(there.get(name), here.get(name), f"{key}.{name}".lstrip("."))
    return f"{key} is {json.dumps(there)} there and {json.dumps(here)} here"
