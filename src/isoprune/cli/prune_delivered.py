"""What a recipe delivers: the small network saved, as ONNX, and timed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from isoprune.cli.prune_told import listed, megabytes

NETWORK, RECORD = "network", "record.json"


def delivered(
    args: argparse.Namespace, record: Mapping[str, Any], store: Any, out: Path, stage: Callable[[str], None]
) -> tuple[dict[str, Any], list[str]]:
    """Save and time the network; return the record with its times, as it is now in the folder, and lines."""
    import torch

    from isoprune.experiment.networks import load_network
    from isoprune.export import latency
    from isoprune.export.onnx import installed
    from isoprune.types.files import explained, write_json

    folders = {name: store.folder(name, digest) for name, digest in record["networks"].items()}
    dense, facts = load_network(folders["dense"])
    small, _ = load_network(folders["retrained"])
    _, pruned = load_network(folders["pruned"])
    example = torch.randn(2, *facts["in_shape"], generator=torch.Generator().manual_seed(args.seed))
    stage("saving")
    lines = _saved(args, dense, small, pruned, example, out / NETWORK)
    backends = listed(args.latency_report) or ["eager", *["onnxruntime"] * installed()]
    rows = _timed(out / RECORD, record["digest"], backends)
    if rows is None:
        report = latency(
            {"dense": dense, "pruned": small},
            example[:1],
            backends=backends,
            threads=args.threads,
            on_backend=lambda backend: stage(f"timing on {backend}"),
        )
        rows = report.as_rows()
    told = {**record, "latency": rows}
    with explained(out):
        write_json(out / RECORD, told)
    return told, lines


def _saved(
    args: argparse.Namespace, dense: Any, small: Any, pruned: Mapping[str, Any], example: Any, place: Path
) -> list[str]:
    from isoprune.experiment.networks import plan_of
    from isoprune.export import export_onnx, save
    from isoprune.export.folder import ONNX, WEIGHTS
    from isoprune.export.onnx import installed
    from isoprune.graph import trace
    from isoprune.pruning import Costs, Proof, Pruned

    proof, costs = Proof(**pruned["proof"]), Costs.from_dict(pruned["costs"])
    result = Pruned(small, dense, plan_of(pruned), trace(dense, example), proof, costs)
    save(result, place, dense=dense, source=args.source)
    lines = [f"Network: {place} ({megabytes((place / WEIGHTS).stat().st_size)})"]
    if not installed():
        return [*lines, "ONNX: not written, onnx is not installed: pip install 'isoprune[export]'."]
    done = export_onnx(small, example, place / ONNX)
    return [*lines, f"ONNX: {done['path']}, differs from torch by {done['max_abs_error']:.2g} at most."]


def _timed(path: Path, digest: str, backends: list[str]) -> list[dict[str, Any]] | None:
    """Return the times that this recipe measured already, None if it did not, or on other backends."""
    from isoprune.types.files import read_json

    try:
        record = read_json(path, remedy="Delete it and start again.")
    except FileNotFoundError:
        return None
    rows = record.get("latency", [])
    same = record.get("digest") == digest and list(dict.fromkeys(row["backend"] for row in rows)) == backends
    return rows if same else None
