"""How the runs of a study, and what they share, are called."""

from __future__ import annotations

from pathlib import Path

from experiment.tiny import CONFIG
from isoprune.experiment.grid import expand
from isoprune.experiment.store import Store
from isoprune.experiment.study import label, plan_work


def test_labels_say_what_tells_runs_apart():
    axes = {
        "model": [{"name": "mlp_7", "activation": a} for a in ("linear", "relu")],
        "retrain.lr": [0.1, 0.01],
        "seed": [0],
        "repair": ["none", {"name": "orthp", "gain": 1.0}],
    }
    work = plan_work(expand(CONFIG | {"study": axes}, name="tiny"), Store(Path("nowhere")))
    labels = [work.labels[key] for key in work.runs]
    assert len(set(labels)) == 8
    assert labels[0] == "mlp_7 linear lr=0.1 none"
    shared = set(work.labels.values()) - set(labels)
    assert {each for each in shared if each.startswith("dense")} == {"dense mlp_7 linear", "dense mlp_7 relu"}
    assert "pruned mlp_7 relu" in shared
    assert "repaired mlp_7 relu orthp 1.0" in shared


def test_labels_of_recipes_name_the_kinds_of_steps_and_what_differs_in_them():
    train, prune = {"kind": "train", "epochs": 2, "lr": 0.1}, {"kind": "prune", "ratio": 0.5}
    retrain = {"kind": "retrain", "epochs": 1, "lr": 0.1}
    axes = {
        "steps": [[train, prune, retrain], [train, prune, {"kind": "rewind", "epoch": 1}, retrain]],
        "steps.1.ratio": [0.5, 0.8],
    }
    study = expand({"data": "digits", "model": "mlp_7", "steps": [], "study": axes}, name="recipes")
    assert [label(e, study.axes) for e in study.experiments] == [
        f"{kinds} ratio={ratio}"
        for kinds in ("train-prune-retrain", "train-prune-rewind-retrain")
        for ratio in (0.5, 0.8)
    ]
