"""From a TOML file to records: experiments, the store, studies on several processes.

Loaded without torch: what needs it is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isoprune.experiment.config import Choice, Experiment, Training, experiment
    from isoprune.experiment.executor import Workers
    from isoprune.experiment.grid import Study, expand, read_experiment, read_study
    from isoprune.experiment.networks import load_network
    from isoprune.experiment.pipeline import run
    from isoprune.experiment.ray_executor import Cluster
    from isoprune.experiment.store import Store
    from isoprune.experiment.study import plan_work, run_work

_HOME = {
    "Choice": "config",
    "Cluster": "ray_executor",
    "Experiment": "config",
    "Store": "store",
    "Study": "grid",
    "Training": "config",
    "Workers": "executor",
    "expand": "grid",
    "experiment": "config",
    "load_network": "networks",
    "plan_work": "study",
    "read_experiment": "grid",
    "read_study": "grid",
    "run": "pipeline",
    "run_work": "study",
}

__all__ = [
    "Choice",
    "Cluster",
    "Experiment",
    "Store",
    "Study",
    "Training",
    "Workers",
    "expand",
    "experiment",
    "load_network",
    "plan_work",
    "read_experiment",
    "read_study",
    "run",
    "run_work",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
