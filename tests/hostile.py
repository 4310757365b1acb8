"""Folders and records of a stranger: whole, with every checksum right, and of a content that no run wrote."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, zeros

from isoprune.experiment.choice import choice
from isoprune.experiment.digests import FORMAT, digest, run_digest
from isoprune.experiment.seeds import build_model
from isoprune.export import manifest
from isoprune.export.folder import FORMAT as PLAN_FORMAT
from isoprune.export.folder import sha256_of
from isoprune.types.json_files import sealed
from isoprune.types.record import VERSION

__all__ = ["CALLS", "network_folder", "record_of", "sealed"]

SMALL = {"name": "mlp_7", "width": 8, "depth": 2}

# Each would leave a file PWNED, or run a command.
CALLS = ("stranger_nets:make", "subprocess:Popen", "os:system", "builtins:exec", "timm:hf-hub:x/y")


def network_folder(
    below: Path,
    *,
    tensors: Mapping[str, Tensor] | None = None,
    model: Any = None,
    data: Any = None,
    in_shape: Any = (1, 8, 8),
    saved: Mapping[str, Any] | None = None,
    **facts: Any,
) -> Path:
    """Write a network's folder as a store has it, under the name that its config has.

    ``saved`` are changes of its plan.json, ``facts`` of its step.json.
    """
    config = {
        "seed": 0, "data": data or {"name": "digits"}, "model": model or SMALL,
        "task": "classification", "steps": [],
    }  # fmt: skip
    name = digest(config)
    folder = below / name
    folder.mkdir(parents=True, exist_ok=True)
    if tensors is None and model is None:
        tensors = build_model(choice(SMALL, "model"), (1, 8, 8), 10, seed=0).state_dict()
    tensors = dict(tensors or {"a": zeros(1)})
    weights = save(tensors)
    (folder / "model.safetensors").write_bytes(weights)
    cost = {"parameters": 1, "nonzero": 1, "flops": 1}
    shapes = {
        key: {"shape": list(t.shape), "dtype": str(t.dtype).removeprefix("torch."), "dense": None}
        for key, t in tensors.items()
    }
    plan = {
        "format": PLAN_FORMAT, "version": manifest.VERSION, "class": "Net", "source": None,
        "training": False, "other_mode": [], "attributes": {}, "tied": {}, "tensors": shapes,
        "plan": {"grain": "channel", "removed": {}, "shapes": {}, "request": {}},
        "costs": {"dense": cost, "pruned": cost, "ratios": {}, "units": [], "latency": None},
        "sha256": hashlib.sha256(weights).hexdigest(), **(saved or {}),
    }  # fmt: skip
    (folder / "plan.json").write_bytes(sealed(plan))
    known = {
        "version": FORMAT, "role": "dense", "digest": name, "dense": name, "config": config,
        "in_shape": list(in_shape), "classes": 10, "seconds": 1.0, "history": [],
        "files": {file: sha256_of(folder / file) for file in ("plan.json", "model.safetensors")}, **facts,
    }  # fmt: skip
    (folder / "step.json").write_bytes(sealed(known))
    return folder


def record_of(folder: Path, runs: Path, **changes: Any) -> Path:
    """Write the record of a run whose pruned network lies in ``folder``."""
    config = {"seed": 0, "data": {"name": "digits"}, "model": {"name": "mlp_7"}}
    network = {
        "role": "pruned", "step": 1, "digest": folder.name, "parameters": 1, "nonzero": 1, "flops": 1,
        "metrics": {},
    }  # fmt: skip
    record = {
        "version": VERSION, "digest": run_digest(config), "name": "x", "config": config,
        "networks": [network], **changes,
    }  # fmt: skip
    path = runs / record["digest"] / "record.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(sealed(record))
    return path
