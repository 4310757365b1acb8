"""The process that runs tasks for `executor`: JSON lines in, JSON lines out."""

from __future__ import annotations

import gc
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
        if not gc.get_freeze_count():
            # A step begins with a full collection, which need not see what the first task imported.
            gc.collect()
            gc.freeze()


def _read(tasks: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        tasks.put(line)
    os._exit(0)  # The parent is gone or done: whatever runs here is wanted by nobody.


def attempt(work: Mapping[str, Any], on_event: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
    """Do a task and return the fields of its `Outcome`."""
    from isoprune.experiment.config import experiment
    from isoprune.experiment.digests import run_digest
    from isoprune.experiment.mirror import working_store
    from isoprune.experiment.pipeline import make_step, run
    from isoprune.experiment.recipe_steps import placed
    from isoprune.experiment.resolve import resolve
    from isoprune.types import IsopruneError
    from isoprune.types.limits import is_memory, of_disk, of_memory

    try:
        wanted = resolve(experiment(work["config"]))
        last, folders = work.get("place"), [f"networks/{step.digest}" for step in placed(wanted)]
        if last is None:
            folders.append(f"runs/{run_digest(wanted.as_dict())}")
        with working_store(work["store"], folders if last is None else folders[: last + 1]) as store:
            if last is None:
                run(wanted, store, name=work["name"], on_event=on_event)
            else:
                make_step(wanted, store, place=last, keep=work["keep"], on_event=on_event)
    except IsopruneError as error:
        return {"error": str(error), "mendable": True}
    except OSError as error:
        return {"error": of_disk(error), "mendable": True}
    except Exception as error:
        if is_memory(error):
            return {"error": of_memory(error), "mendable": True}
        return {"error": f"{type(error).__name__}: {error}", "detail": traceback.format_exc()}
    return {}


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
