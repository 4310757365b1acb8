"""`isoprune sanity`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from isoprune.cli.console import error_console, progress, say
from isoprune.cli.options import check_choice, check_out, check_seed, listed, read_shape
from isoprune.experiment.network_names import check_network, is_record
from isoprune.experiment.step_types import Count, Epochs, Positive, Ratio
from isoprune.experiment.validation import read
from isoprune.types.errors import IsopruneError
from isoprune.types.files import write_output
from isoprune.types.training_options import OptimizerName

_Method = Parameter(group=Group("The method", sort_key=1))
_Training = Parameter(group=Group("The training of every network", sort_key=2))
_Input = Parameter(group=Group("What goes in", sort_key=3))


def sanity(
    network: str,
    /,
    *,
    ratio: Annotated[float, _Method],
    criterion: Annotated[str, _Method] = "l1_norm",
    grain: Annotated[str, _Method] = "weight",
    allocation: Annotated[str, _Method] = "uniform",
    checks: Annotated[str | None, _Method] = None,
    margin: Annotated[float, _Method] = 0.01,
    epochs: Annotated[int, _Training],
    lr: Annotated[str, _Training] = "auto",
    batch: Annotated[int, _Training] = 100,
    optimizer: Annotated[OptimizerName, _Training] = "sgd",
    schedule: Annotated[str, _Training] = "one_cycle",
    seeds: Annotated[int, _Training] = 3,
    data: Annotated[str | None, _Input] = None,
    weights: Annotated[Path | None, _Input] = None,
    shape: Annotated[str | None, _Input] = None,
    where: Path = Path("sanity"),
    out: Path | None = None,
) -> None:
    """Say whether a pruning method beats chance at its own ratios.

    NETWORK is dense: a record.json (its dense network), a network of the store, or a source, as isoprune
    diagnose takes. It is pruned by the method, and by each check, which replaces one thing that the method
    chose: mask_shuffle, random_ticket, smart_ratios, weight_shuffle, reinitialised, half_data. All are
    trained alike and compared in pairs over seeds. Finished networks are kept: an interrupted command goes on
    where it was.

    example:
      isoprune sanity runs/runs/0123456789abcdef/record.json --ratio 0.9 --criterion snip --epochs 10
      isoprune sanity my_package.nets:make_model --data digits --ratio 0.5 --grain channel --epochs 5

    Args:
        network: The dense network; see above.
        ratio: Fraction of the units removed.
        criterion: By name or table; see isoprune methods criterion.
        grain: What goes as one: weight, channel, filter, ...
        allocation: uniform, or global: all units compete.
        checks: Names with commas (all).
        margin: Networks whose whole interval is within it are called level; 0.01 is a point of accuracy.
        epochs: Their number.
        lr: The peak of the rate, or auto: what isoprune advise finds for the method's own network, for all.
        batch: Samples of a step.
        optimizer: Of every step.
        schedule: By name; see isoprune methods schedule.
        seeds: How many: 0, 1, 2, ...
        data: A data set by name or table, or a folder of one folder of images a class.
        weights: File of weights of NETWORK, if it is a source.
        shape: Of a source's input, batch first: 1,3,224,224.
        where: Folder in which finished networks' numbers are kept.
        out: Also the numbers as JSON (.json).
    """
    check_out(out, (".json",), "sanity.json")
    rate = _rate(lr)
    removed, count, size = read(Ratio, ratio, "--ratio"), read(Count, seeds, "--seeds"), read_shape(shape)
    check_seed(count)
    length, samples = read(Epochs, epochs, "--epochs"), read(Count, batch, "--batch")
    for kind, text in (("criterion", criterion), ("schedule", schedule)):
        check_choice(kind, text, f"--{kind}")
    check_network(network)
    check_choice("data", data, "--data")
    with error_console().status("Opening"):
        import torch

        import isoprune
        from isoprune.experiment.choice import read_choice
        from isoprune.experiment.named_data import load_splits, named_data
        from isoprune.experiment.named_network import open_network
        from isoprune.experiment.seeds import batches
        from isoprune.experiment.signatures import bind, find
        from isoprune.types.method import method_of
        from isoprune.types.samples import inputs_at

        stage = "dense" if is_record(network) else None
        opened = open_network(network, stage=stage, shape=size, weights=weights)
        if data is None and opened.facts is None:
            raise IsopruneError(f"Say what to train {opened.label} on: --data digits, or a folder of images.")
        splits = load_splits(named_data(data, opened), opened, seed=0)
        chosen = read_choice(criterion, "--criterion", '{name = "taylor", batches = 8}')
        looks = "data" in method_of(find("criterion", chosen.name)).needs
        seen = batches(chosen, splits.train, batch=samples, seed=0) if looks else None
        example = inputs_at(splits.validation, torch.arange(2))
    with progress() as show:
        result = isoprune.sanity(
            opened.model,
            example,
            removed,
            criterion=bind("criterion", chosen),
            grain=grain,
            allocation=allocation,
            batches=seen,
            data=splits,
            lr=rate,
            seeds=range(count),
            checks=None if checks is None else listed(checks),
            margin=margin,
            where=where,
            on_event=show,
            epochs=length,
            batch=samples,
            optimizer=optimizer,
            schedule=schedule,
        )
    say(*result.sentences)
    if out is not None:
        write_output(json.dumps(result.as_dict(), indent=1, allow_nan=False), out)
        say(f"Written: {out}")


def _rate(text: str) -> float | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        return read(Positive, float(text), "--lr")
    except ValueError:
        raise IsopruneError(f"--lr {text} is no rate. Write --lr 0.03, or --lr auto.") from None
