"""What the steps of a recipe do, one kind a file: `(bench, step, way, folder) -> Made`."""

from __future__ import annotations

from collections.abc import Callable

from isoprune.experiment.networks import Made
from isoprune.experiment.step_types import Cluster, Prune, Repair, Retrain, Rewind, Train
from isoprune.experiment.steps.cluster import make_clustered
from isoprune.experiment.steps.prune import make_pruned
from isoprune.experiment.steps.repair import make_repaired
from isoprune.experiment.steps.retrain import make_dense, make_retrained
from isoprune.experiment.steps.rewind import make_rewound

MAKERS: dict[type, Callable[..., Made]] = {
    Train: make_dense,
    Prune: make_pruned,
    Rewind: make_rewound,
    Repair: make_repaired,
    Cluster: make_clustered,
    Retrain: make_retrained,
}

__all__ = ["MAKERS"]
