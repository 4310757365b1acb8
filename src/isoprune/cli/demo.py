"""`isoprune demo`."""

from __future__ import annotations

import os
from importlib.resources import as_file, files
from pathlib import Path

from isoprune.cli.console import error_console, output_console, say
from isoprune.cli.options import Again
from isoprune.cli.study_shown import carry_out


def demo(*, out: Path = Path("demo"), jobs: int | None = None, again: Again) -> int:
    """Tell the whole story on a small data set: pruning, learning rates, repair.

    A perceptron learns scikit-learn's digits, loses four fifths of its filters, and is retrained with a
    large and a small learning rate: as it is, repaired by OrthP, and from scratch. It ends with a table,
    what the table says in words, and a web page. Nothing is downloaded.

    example:
      isoprune demo
      isoprune demo --out my_demo --jobs 1

    Args:
        out: Directory for the page and the runs.
        jobs: Processes at once (2, or 1 on one core).
    """
    from isoprune.experiment.executor import check_jobs, cores
    from isoprune.experiment.grid import read_study

    jobs = check_jobs(jobs if jobs is not None else min(2, cores()))
    with as_file(files("isoprune.cli") / "demo.toml") as file:
        study = read_study(file)
    error_console().print(
        f"Demo: {len(study.experiments)} runs on handwritten digits. A trained perceptron is pruned to a "
        "fifth of its filters,\nthen retrained with a large and a small learning rate: as it is, repaired, "
        "and from scratch."
    )
    code, records = carry_out(study, str(out / "runs"), again=again, jobs=jobs)
    if not records:
        return code
    from isoprune.reporting import explain, report, terminal_table

    output_console().print(terminal_table(records), "")
    say(*(f"• {sentence}" for sentence in explain(records)[:3]))
    page = report(records, out / "index.html", title="isoprune demo")
    say(f"\nPage: {os.path.relpath(page)}")
    return code
