"""`isoprune diagnose`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from isoprune.cli.console import error_console, output_console, say
from isoprune.cli.options import check_choice, check_out, check_samples, check_seed, listed, read_shape
from isoprune.experiment.catalogue import check
from isoprune.experiment.choice import Choice
from isoprune.experiment.network_names import check_network
from isoprune.experiment.step_types import Count
from isoprune.experiment.validation import read
from isoprune.types.errors import IsopruneError
from isoprune.types.files import write_output

LAYERS = 40  # of more, the table shows those that lost most; the page and the JSON have all
LAYER_KEYS = (
    "name", "kind", "backward_gain", "dense_backward_gain", "share", "comes_back", "sigma_mean",
    "dead_filters",
)  # fmt: skip
_Input = Parameter(group=Group("What goes in", sort_key=1))
_How = Parameter(group=Group("How it is measured, and what comes out", sort_key=2))


def diagnose(
    network: str,
    /,
    *,
    dense: str | None = None,
    stage: str | None = None,
    data: Annotated[str | None, _Input] = None,
    samples: Annotated[int | None, _Input] = None,
    weights: Annotated[Path | None, _Input] = None,
    dense_weights: Annotated[Path | None, _Input] = None,
    build: Annotated[str | None, _Input] = None,
    shape: Annotated[str | None, _Input] = None,
    input: Annotated[str | None, _Input] = None,
    output: Annotated[str | None, _Input] = None,
    seed: Annotated[int, _Input] = 0,
    exact: Annotated[bool, _How] = False,
    repairs: Annotated[str | None, _How] = None,
    retrain_samples: Annotated[int | None, _How] = None,
    fitted: Annotated[Path | None, _How] = None,
    out: Annotated[Path | None, _How] = None,
) -> None:
    """Say whether a network is fit to be retrained, which layers are to blame if not, what repairs restore.

    NETWORK is a record.json or the folder of a network in the store (runs/networks/<digest>), a folder that
    isoprune prune or isoprune.save wrote, or a source: torchvision:NAME, timm:NAME, transformers:TYPE,
    my_package.module:function. The measure is the singular values of the input-output Jacobian: exact, or
    estimated with an error bar where exact values would take long. Repairs are tried on copies.

    example:
      isoprune diagnose runs/runs/0123456789abcdef/record.json
      isoprune diagnose small --dense my_package.nets:trained --data digits --out diagnosis.html
      isoprune diagnose small --dense my_package.nets:trained --data digits --retrain-samples 30000
      isoprune diagnose torchvision:resnet50 --weights trained.safetensors --data photos/
      isoprune diagnose my_package.nets:make_model --data '{name = "cifar10", size = 32}' --exact

    Args:
        network: The network; see above.
        dense: The network before pruning, of the same kinds (the store's).
        stage: Which network of a record (pruned), or of the folder of prune --data (its last).
        data: A data set by name or table, a folder of images, your function, example or random.
            A folder as your network saw it: {root = "photos", mean = [...], std = [...], resize = 256};
            also crop, interpolation, transform = "pkg:function" or "timm:NAME", on_error = "skip".
        samples: How many inputs (64, fewer where one takes long).
        weights: File of weights of NETWORK, if it is a source.
        dense_weights: File of weights of the dense network, if it is a source.
        build: Source that makes the dense network of a saved folder.
        shape: Of a source's input, batch first: 1,3,224,224.
        input: Differentiate by this: an input, or a layer's output.
        output: The output to differentiate, if there are several.
        seed: Of what is drawn.
        exact: Exact singular values, however long it takes.
        repairs: Tried on copies: names with commas, all or none (all, unless it is healthy).
        retrain_samples: Also forecast the accuracy after retraining on so many samples (epochs times
            training samples).
        fitted: File of isoprune forecast to do it by (the one that comes with isoprune).
        out: Also one web page (.html), or the numbers (.json).
    """
    check_samples(samples)
    if retrain_samples is not None:
        read(Count, retrain_samples, "--retrain-samples")
    elif fitted is not None:
        raise IsopruneError("--fitted is what a retraining is forecast by. Give --retrain-samples too.")
    check_seed(seed)
    check_out(out, (".html", ".json"), "diagnosis.html")
    sizes = read_shape(shape)
    check_network(network, stage)
    check_choice("data", data, "--data")
    tried = None if repairs in (None, "all") else [] if repairs == "none" else listed(repairs)
    for repair in tried or ():
        check("repair", Choice(repair), "--repairs")
    with error_console().status("Measuring"):
        from isoprune.experiment.diagnosis_record import diagnose_network, diagnosis_record
        from isoprune.experiment.named_data import open_inputs
        from isoprune.experiment.named_network import open_network
        from isoprune.forecast import read_fitted
        from isoprune.verbs.diagnose import every_repair

        forecaster = None if fitted is None else read_fitted(fitted)
        opened = open_network(
            network,
            stage=stage,
            dense=dense,
            build=build,
            shape=sizes,
            weights=weights,
            dense_weights=dense_weights,
            seed=seed,
        )
        inputs = open_inputs(data, opened, samples=samples, seed=seed)
        diagnosis = diagnose_network(
            opened,
            inputs,
            samples=samples,
            exact=exact,
            repairs=every_repair() if repairs == "all" else tried,
            retrain_samples=retrain_samples,
            fitted=forecaster,
            seed=seed,
            input=input,
            output=int(output) if output is not None and output.lstrip("-").isdecimal() else output,
        )
        settings = {"network": network, "dense": dense, "seed": seed}
        record = diagnosis_record(opened, inputs, diagnosis, settings)
    _print(record)
    if out is not None:
        _write(out, record)
        say(f"Written: {out}")


def _print(record: dict[str, Any]) -> None:
    """Print the verdict, the sentences, the layers, and what the repairs restore."""
    from isoprune.reporting.diagnosis_tables import layer_table, network_table
    from isoprune.types.tables import terminal

    say(record["network"], *record["sentences"], *record["provisos"], *record["restored"])
    if record["forecast"] is not None:
        say(*record["forecast"]["sentences"])
    rows, console = record["layers"], output_console()
    if rows:
        most = sorted(rows, key=lambda row: -row["share"])[:LAYERS]
        console.print(terminal(layer_table([row for row in rows if row in most], LAYER_KEYS)))
    if len(rows) > LAYERS:
        say(f" {len(rows) - LAYERS} layers that lost less are left out; --out has all.")
    if len(record["networks"]) > 1:
        console.print(terminal(network_table(record["networks"])))
    say(*(f"Repair {name} does not apply: {reason}" for name, reason in record["refused"].items()))


def _write(file: Path, record: dict[str, Any]) -> None:
    if file.suffix == ".html":
        from isoprune.reporting import diagnosis_page

        diagnosis_page(record, file)
    else:
        write_output(json.dumps(record, indent=1, allow_nan=False), file)
