"""Say whether a network of the store is fit to be retrained, and which layers are to blame if not.

Give a record (its pruned network is diagnosed, and what its repair restored), or the folder of one
network, such as runs/dense/<digest>. The measure is the singular values of the input-output Jacobian.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from isoprune.cli.work import error_console, output_console

SUMMARY = "say whether a saved network is fit to be retrained"
EXAMPLE = """\
  isoprune diagnose runs/runs/0123456789abcdef/record.json
  isoprune diagnose runs/dense/0123456789abcdef --samples 256"""

LEAST_TRAIN = 1000  # enough to hold two classes, which every data set insists on
STAGES = ("dense", "pruned", "repaired", "retrained")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "network", type=Path, metavar="PATH", help="a record.json, or the folder of a network or run"
    )
    parser.add_argument("--stage", choices=STAGES, help="which network of a record (default: pruned)")
    parser.add_argument(
        "--data", metavar="NAME", help="measure on this data set (default: that of the training)"
    )
    parser.add_argument("--samples", type=int, default=64, metavar="N", help="how many inputs (default: 64)")


def run(args: argparse.Namespace) -> int:
    from isoprune.errors import IsopruneError
    from isoprune.experiment.networks import load_network

    if args.samples < 1:
        raise IsopruneError(f"--samples {args.samples}: at least one input is measured. Write --samples 64.")
    folder, repaired_folder = _folders(args.network, args.stage)
    model, facts = load_network(folder)
    dense = _dense_of(folder, facts)
    repaired = {}
    if repaired_folder is not None:
        network, of = load_network(repaired_folder)
        repaired[of["config"]["repair"]["name"]] = network
    with error_console().status("Measuring"):
        diagnosis = _diagnosis(model, dense, repaired, facts, data=args.data, samples=args.samples)
    console = output_console()
    console.print(f"{facts['stage']} {facts['config']['model']['name']} ({folder})", markup=False)
    console.print(str(diagnosis), markup=False)
    console.print(_table(diagnosis.as_rows()))
    return 0


def _folders(path: Path, stage: str | None) -> tuple[Path, Path | None]:
    """Return the folder of the network to diagnose, and that of its repaired form if it is to be told."""
    from isoprune.errors import IsopruneError
    from isoprune.experiment.files import read_json

    if path.is_dir() and (path / "record.json").exists():
        path = path / "record.json"
    if not path.exists():
        raise IsopruneError(f"No {path}. Give a record.json, or a folder like runs/dense/<digest>.")
    if path.is_dir():
        if stage is not None and stage != path.parent.name:
            raise IsopruneError(
                f"{path} is one network, of stage {path.parent.name}. Leave out --stage, or give a record."
            )
        return path, None
    record = read_json(path, remedy="Give a record.json that isoprune wrote.")
    networks = record.get("networks")
    if not isinstance(networks, dict):
        raise IsopruneError(
            f"{path} names no networks, so it is not a record. Give a record.json that isoprune wrote."
        )
    wanted = stage or "pruned"
    if wanted not in networks:
        raise IsopruneError(f"{path} has no stage {wanted!r}. It has: {', '.join(networks)}.")
    root = path.resolve().parents[2]  # ROOT/runs/<digest>/record.json
    repair = record["config"]["repair"]["name"]
    told = stage is None and repair != "none"
    return root / wanted / networks[wanted], root / "repaired" / networks["repaired"] if told else None


def _dense_of(folder: Path, facts: dict[str, Any]) -> Any:
    """Return the dense network that the one in ``folder`` was pruned from, if it is still in the store."""
    from isoprune.experiment.digests import stage_digest
    from isoprune.experiment.networks import load_network

    if facts["stage"] == "dense":
        return None
    dense = folder.resolve().parents[1] / "dense" / stage_digest(facts["config"], "dense")
    return load_network(dense)[0] if (dense / "network.json").exists() else None


def _diagnosis(
    model: Any,
    dense: Any,
    repaired: dict[str, Any],
    facts: dict[str, Any],
    *,
    data: str | None,
    samples: int,
) -> Any:
    from isoprune.errors import IsopruneError
    from isoprune.experiment.choice import bind, complete
    from isoprune.experiment.config import Choice, choice
    from isoprune.experiment.seeds import jsv_inputs
    from isoprune.isometry import diagnose

    seed = facts["config"]["seed"]
    chosen = complete("data", Choice(data), "--data") if data else choice(facts["config"]["data"], "data")
    if chosen.options.get("limit", 0) is None:
        # Only validation images are measured: the training images need not be brought to size.
        chosen = Choice(chosen.name, {**chosen.options, "limit": LEAST_TRAIN})
    splits = bind("data", chosen)(None, seed=seed)
    if list(splits.in_shape) != facts["in_shape"]:
        raise IsopruneError(
            f"--data {chosen.name} has inputs of shape {splits.in_shape}, the network takes "
            f"{tuple(facts['in_shape'])}. Leave out --data to measure on the data that it was trained on."
        )
    inputs = jsv_inputs(splits.validation, samples, seed=seed)
    batch = (inputs, splits.validation.targets[: len(inputs)])  # targets are not read
    return diagnose(model, [batch], dense, repaired=repaired, samples=samples)


def _table(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    columns = {
        "name": "layer",
        "kind": "kind",
        "backward_gain": "gain",
        "dense_backward_gain": "dense gain",
        "share": "share of loss",
        "sigma_mean": "mean sigma",
        "dead_filters": "dead filters",
    }
    shown = {
        key: heading for key, heading in columns.items() if any(row.get(key) is not None for row in rows)
    }
    table = Table(box=None)
    for key, heading in shown.items():
        table.add_column(heading, justify="left" if key in ("name", "kind") else "right")
    for row in rows:
        table.add_row(*(Text(_cell(key, row.get(key))) for key in shown))
    return table


def _cell(key: str, value: Any) -> str:
    if value is None:
        return ""
    if key == "share":
        return f"{value:.0%}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
