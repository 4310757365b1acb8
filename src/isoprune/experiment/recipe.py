"""The default recipe: the experiment made of a trained network, a data set and a target alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isoprune.experiment.choice import choice
from isoprune.types.training_options import OptimizerName

EPOCHS = 10
RECONSTRUCTION, L1 = "reconstruction", "l1_norm"
# From so many epochs on, retraining finds by itself what a repair of what L1 chose would restore.
LONG = 3
# Of retraining, for a probe of its rate: none. A network that was refit computes nearly what the dense one
# does; short probes then favour rates that forget least, and end lower (docs/recipe.md).
PROBE_SHARE = 0.0


def recipe(
    *,
    model: Mapping[str, Any],
    data: Mapping[str, Any],
    prune: Mapping[str, Any],
    epochs: int = EPOCHS,
    dense_epochs: int = 0,
    seed: int = 0,
    optimizer: OptimizerName = "sgd",
    loop: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the table of the experiment, as a TOML file would hold it.

    What is filled in is what docs/recipe.md measured, by SGD: one cycle at the advised rate in small batches,
    distillation from the dense network, and the mean of the last weights; after the criterion
    "reconstruction", which brings its repair, at the middle rate without a probe, after others with a repair
    where the budget is short. Without epochs nothing is trained: what the criterion or the repair "auto" fits
    on data is the result.

    Args:
        model: The choice of the network; with ``dense_epochs`` 0 it starts from its weights.
        data: The choice of the data set.
        prune: One of ratio, flops and parameters, and what else differs from the defaults. A criterion too;
            without one, L1.
        epochs: Of retraining; 0: none.
        dense_epochs: Of training before; 0: the network is trained already.
        optimizer: Of retraining, and of training before.
        loop: How retraining takes its steps, where it is not the plain way: precision, channels_last.
    """
    common = {**STEPS, "optimizer": optimizer}
    dense: dict[str, Any] = {"epochs": 0}
    if dense_epochs:
        dense = {"epochs": dense_epochs, "lr": "auto", **common, "schedule": "one_cycle"}
    prune = {"criterion": L1, **prune}
    refit = choice(prune["criterion"], "prune.criterion").name == RECONSTRUCTION
    share = {"probe_share": PROBE_SHARE} if refit else {}
    repair: str | dict[str, Any] = "none" if refit or epochs >= LONG else "auto"
    if repair == "auto" and not epochs:
        repair = {"name": "auto", "give": 0.0}  # nothing follows that would need room
    how = {"lr": "auto", **common, **RETRAIN, **share, **(loop or {})} if epochs else {}
    return {
        "seed": seed,
        "model": dict(model),
        "data": dict(data),
        "dense": dense,
        "prune": prune,
        "repair": repair,
        "retrain": {"epochs": epochs, **how},
    }


STEPS = {"batch": 64, "momentum": 0.9, "weight_decay": 5e-4, "jsv_samples": 16}
RETRAIN = {
    "schedule": "one_cycle",
    "average": 0.2,
    "distill": {"weight": 0.5, "temperature": 4.0},
}
