"""`isoprune study`."""

from __future__ import annotations

from pathlib import Path

from isoprune.cli.console import output_console, say
from isoprune.cli.options import Address, Again, Executor, Jobs, Settings, StorePlace
from isoprune.cli.study_shown import carry_out, report_command


def study(
    file: Path,
    /,
    *,
    jobs: Jobs = None,
    executor: Executor = "local",
    address: Address = "auto",
    settings: Settings = (),
    store: StorePlace = "runs",
    again: Again,
) -> int:
    """Run a study: one experiment times a grid of values, on several processes or on a Ray cluster.

    The file's [study] lists values for any keys; every combination is one run. Networks that runs share
    are trained once. Started again, a study does only what is not finished.

    example:
      isoprune study studies/lr_effect.toml --jobs 2
      isoprune study studies/lr_effect.toml --executor ray --store s3://bucket/runs
      isoprune study studies/lr_effect.toml --set retrain.epochs=90 --set 'study.seed=[0]'

    Args:
        file: The study, a TOML file.
    """
    from isoprune.experiment.grid import read_study

    found = read_study(file, settings)
    code, records = carry_out(found, store, again=again, jobs=jobs, executor=executor, address=address)
    if records:
        from isoprune.reporting import terminal_table

        output_console().print(terminal_table(records))
        say(f"A page with figures: {report_command(store, found.name)}")
    return code
