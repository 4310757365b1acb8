"""`isoprune run`."""

from __future__ import annotations

from pathlib import Path

from isoprune.cli.console import output_console, say
from isoprune.cli.options import Again, Settings, StorePlace
from isoprune.cli.study_shown import carry_out, network_table
from isoprune.types.tables import terminal


def run(file: Path, /, *, settings: Settings = (), store: StorePlace = "runs", again: Again) -> int:
    """Run one experiment: train the dense network, prune, repair, retrain, and measure each stage.

    Whatever is in the store already is taken from there; what was interrupted goes on.

    example:
      isoprune run experiment.toml
      isoprune run experiment.toml --set retrain.lr=0.1 --set repair=orthp

    Args:
        file: The experiment, a TOML file.
    """
    from isoprune.experiment.grid import Study, read_experiment

    study = Study(file.stem, (read_experiment(file, settings),))
    code, records = carry_out(study, store, again=again, listing=False)
    for record in records:
        output_console().print(terminal(network_table(record)))
        say(f"Record: {store.rstrip('/')}/runs/{record.digest}/record.json")
    return code
