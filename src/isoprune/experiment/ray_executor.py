"""Tasks on the nodes of a Ray cluster that exists already: one CPU and one torch thread each.

What `executor.Workers` does on this machine's processes. A task whose node or process dies goes to another;
the checkpoint that it left in the store is where it goes on.
"""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TextIO

from isoprune.experiment import ray_node
from isoprune.experiment.executor import Job, OnEvent, Outcome, ending, skip_orphans
from isoprune.experiment.ray_connection import connect, greeted, import_ray
from isoprune.types.errors import IsopruneError

TRIES = 5  # of a task whose node or process dies; the sixth would hardly fare better
SECONDS_BETWEEN_LOOKS = 0.3


class RayCluster:
    """A connection to the Ray cluster at ``address``, ended with the block; the cluster stays.

    Args:
        address: "auto" (RAY_ADDRESS, or the cluster of this machine), host:port, or ray://host:port.
        at_once: The most tasks at once; None for as many as there are CPUs.
    """

    def __init__(self, address: str = "auto", at_once: int | None = None) -> None:
        if at_once is not None and at_once < 1:
            raise IsopruneError(f"--jobs {at_once}: at least one task is needed. Leave --jobs out.")
        self._address, self._at_once = address, at_once
        self._ray: Any = None
        self._box: Any = None
        self._block = contextlib.ExitStack()

    def __enter__(self) -> RayCluster:
        self._ray = import_ray()
        if not self._ray.is_initialized():
            connect(self._ray, self._address)
            self._block.callback(self._ray.shutdown)
        # A thread of Ray prints the log of a node that died to standard output, which is for results.
        self._block.enter_context(contextlib.redirect_stdout(_OfThisThread(sys.stdout)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._box = None
        self._block.close()

    def execute(self, tasks: Sequence[Job], on_event: OnEvent) -> dict[str, Outcome]:
        """Run every task once and return how each ended; see `executor.Workers.execute`.

        Raises:
            IsopruneError: If a node cannot take part: no isoprune, or no way to the store.
        """
        if not tasks:
            return {}
        waiting, outcomes = list(tasks), {}
        with contextlib.ExitStack() as block:
            here = block.enter_context(greeted(self._ray, str(tasks[0].work["store"])))
            self._box = self._box or self._letter_box()
            # Tried again from here: so the order is kept, and it is told.
            attempt = self._ray.remote(ray_node.attempt).options(num_cpus=1, max_retries=0)
            running: dict[Any, Job] = {}
            block.callback(self._cancel, running)
            tries: Counter[str] = Counter()
            while waiting or running:
                skip_orphans(waiting, outcomes, on_event)
                for task in [t for t in waiting if t.after is None or t.after in outcomes]:
                    if self._at_once is not None and len(running) >= self._at_once:
                        break
                    waiting.remove(task)
                    tries[task.id] += 1
                    running[attempt.remote(task.id, dict(task.work), here, self._box)] = task
                if not running:
                    continue
                ended, _ = self._ray.wait(list(running), timeout=SECONDS_BETWEEN_LOOKS)
                self._deliver(outcomes, on_event)
                for reference in ended:
                    task = running.pop(reference)
                    outcome = self._outcome(reference, tries[task.id])
                    if outcome is None:
                        waiting.insert(0, task)
                        on_event(task.id, {"state": "left"})
                        on_event(task.id, {"say": "its node or process died; it goes on elsewhere"})
                    else:
                        outcomes[task.id] = outcome
                        on_event(task.id, ending(outcome))
        return outcomes

    def _letter_box(self) -> Any:
        """Return where nodes put what they tell: beside the driver, whose node's end would be its own too."""
        here = self._ray.get_runtime_context().get_node_id()
        beside = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=True)
        box = self._ray.remote(ray_node.Letters)
        return box.options(num_cpus=0, max_restarts=-1, scheduling_strategy=beside).remote()

    def _outcome(self, reference: Any, tries: int) -> Outcome | None:
        """Return how a task ended; None if it is to be tried again."""
        errors = self._ray.exceptions
        try:
            return Outcome(**self._ray.get(reference))
        except errors.RayTaskError as error:
            return Outcome(str(error.cause or error).splitlines()[-1], detail=str(error))
        except errors.RayError as error:
            if tries < TRIES:
                return None
            why = str(error).split(". ")[0].splitlines()[0]
            return Outcome(
                f"its node or process died {tries} times (the last time: {why})", detail=str(error)
            )

    def _deliver(self, outcomes: Mapping[str, Outcome], on_event: OnEvent) -> None:
        with contextlib.suppress(
            self._ray.exceptions.RayError
        ):  # It is news; the outcome does not depend on it.
            for task, event in self._ray.get(self._box.take.remote(), timeout=10):
                if task not in outcomes:
                    on_event(task, event)

    def _cancel(self, running: Mapping[Any, Job]) -> None:
        for reference in running:
            with contextlib.suppress(Exception):
                self._ray.cancel(reference, force=True)


class _OfThisThread(io.TextIOBase):
    """A stream on which only the thread that made it is heard."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        return self._stream.write(text) if threading.get_ident() == self._thread else len(text)

    def flush(self) -> None:
        self._stream.flush()
