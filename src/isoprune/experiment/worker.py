"""The process that runs tasks for `executor`: JSON lines in, JSON lines out."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, TextIO

SECONDS_BETWEEN_EVENTS = 0.2  # Epochs of tiny networks end faster than anyone can read.


def main() -> None:
    """Run tasks until standard input ends."""
    # What a method prints must not come between the lines of the protocol.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(tasks,), daemon=True).start()
    import torch

    torch.set_num_threads(1)
    while True:
        work = json.loads(tasks.get())
        _tell(out, {"outcome": attempt(work, throttled(lambda event: _tell(out, event)))})


def _read(tasks: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        tasks.put(line)
    os._exit(0)  # The parent is gone or done: whatever runs here is wanted by nobody.


def attempt(work: Mapping[str, Any], on_event: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
    """Do a task and return the fields of its `Outcome`."""
    from isoprune.experiment.config import experiment
    from isoprune.experiment.mirror import opened
    from isoprune.experiment.pipeline import make_stage, run
    from isoprune.experiment.signatures import resolve
    from isoprune.types import IsopruneError

    how = {"name": work["name"], "on_event": on_event}
    try:
        wanted = resolve(experiment(work["config"]))
        with opened(work["store"], _folders(wanted.as_dict(), work["do"])) as store:
            if work["do"] == "run":
                run(wanted, store, **how)
            else:
                make_stage(wanted, store, stage=work["do"], keep=work["keep"], **how)
    except IsopruneError as error:
        return {"error": str(error), "mendable": True}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "detail": traceback.format_exc()}
    return {}


def _folders(config: Mapping[str, Any], do: str) -> list[str]:
    """Return the folders of the store that a task reads or makes, in the order in which they are made."""
    from isoprune.experiment.digests import STAGES, run_digest, stage_digest

    stages = [f"{stage}/{stage_digest(config, stage)}" for stage in STAGES]
    if do == "run":
        return [*stages, f"runs/{run_digest(config)}"]
    return stages[: [*STAGES].index(do) + 1]


def _tell(out: TextIO, message: Mapping[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def throttled(
    tell: Callable[[Mapping[str, Any]], None], *, seconds: float = SECONDS_BETWEEN_EVENTS
) -> Callable[[Mapping[str, Any]], None]:
    """Return ``tell`` for at most one event in so many seconds, and for the last of a training."""
    last = 0.0

    def on_event(event: Mapping[str, Any]) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds or event.get("epoch") == event.get("epochs"):
            last = now
            tell(event)

    return on_event


if __name__ == "__main__":
    main()
