"""Tasks on local processes: one task a process at a time, one torch thread each.

A worker is a fresh interpreter (`isoprune.experiment.worker`) that speaks JSON lines over its pipes:
no fork of a process that has threads, no pickle, and no `if __name__ == "__main__"` needed in the
user's script. A worker ends when its standard input does, so none outlives a killed parent.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from isoprune.types.errors import IsopruneError

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
STDERR_LINES = 20  # of a worker that died, kept for the message

OnEvent = Callable[[str, Mapping[str, Any]], None]  # (task id, event)


@dataclass(frozen=True)
class Job:
    """A piece of work for one worker.

    ``after`` is the id of a task that must have ended well before; ``data`` names the data it
    reads, so that a worker can be given tasks on the data that it has in memory already.
    """

    id: str
    work: Mapping[str, Any]
    after: str | None = None
    data: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a task ended: ``error`` is None if it ended well; ``detail`` is a traceback, or empty."""

    error: str | None = None
    mendable: bool = False
    detail: str = ""


@runtime_checkable
class Executor(Protocol):
    """What runs tasks: processes of this machine, or the nodes of a cluster."""

    def execute(self, tasks: Sequence[Job], on_event: OnEvent) -> dict[str, Outcome]: ...


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_jobs(jobs: int) -> int:
    """Return ``jobs`` if this machine can run that many at once; raise IsopruneError otherwise."""
    if jobs < 1:
        raise IsopruneError(f"--jobs {jobs}: at least one process is needed. Write --jobs 1.")
    if jobs > cores():
        raise IsopruneError(
            f"--jobs {jobs} is more than the {cores()} cores that this process may use: each run has one "
            f"thread, so more would only wait. Write --jobs {cores()}."
        )
    return jobs


@dataclass
class _Worker:
    process: subprocess.Popen[str]
    task: Job | None = None
    data: str = ""
    ended: bool = False
    listeners: list[threading.Thread] = field(default_factory=list)
    stderr: deque[str] = field(default_factory=lambda: deque(maxlen=STDERR_LINES))


class Workers:
    """``jobs`` processes, started at once (importing torch takes seconds) and ended with the block."""

    def __init__(self, jobs: int) -> None:
        self._jobs = check_jobs(jobs)
        self._inbox: queue.SimpleQueue[tuple[_Worker, str, str | None]] = queue.SimpleQueue()
        self._workers: list[_Worker] = []

    def __enter__(self) -> Workers:
        self._workers = [self._start() for _ in range(self._jobs)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            _end(worker)

    def execute(self, tasks: Sequence[Job], on_event: OnEvent) -> dict[str, Outcome]:
        """Run every task once and return how each ended.

        A task that fails stops only those that come after it. ``on_event`` is called in this thread
        with what the workers tell, with {"say": line} for what they print, and with
        {"state": "running" | "done" | "failed"}, if it failed with its "error".
        """
        waiting, outcomes = list(tasks), {}
        while waiting or any(worker.task for worker in self._workers):
            skip_orphans(waiting, outcomes, on_event)
            for worker in self._workers:
                if worker.task is None and (task := _next(waiting, outcomes, worker)):
                    waiting.remove(task)
                    on_event(task.id, {"state": "running"})
                    self._give(worker, task)
            if not any(worker.task for worker in self._workers):
                continue
            worker, channel, line = self._inbox.get()
            if channel == "stderr":
                if line is not None and worker.task is not None:
                    on_event(worker.task.id, {"say": line})
            elif worker.task is None:
                worker.ended = True  # It cannot even start; the task that it is given next will say so.
            else:
                self._hear(worker, worker.task, line, outcomes, on_event)
        return outcomes

    def _hear(
        self, worker: _Worker, task: Job, line: str | None, outcomes: dict[str, Outcome], on_event: OnEvent
    ) -> None:
        """Handle one line of a worker, or its end (None)."""
        if line is None:
            code = worker.process.wait()
            why = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            hint = " (9 is what the system sends when memory runs out: try fewer jobs)" if code == -9 else ""
            for listener in worker.listeners:
                listener.join(timeout=1)  # Its pipe has ended, unless a grandchild holds it.
            tail = "\n".join(worker.stderr)
            outcomes[task.id] = Outcome(f"its process {why}{hint}", detail=tail)
            _end(worker)
            self._workers[self._workers.index(worker)] = self._start()
        else:
            message = json.loads(line)
            if "outcome" not in message:
                on_event(task.id, message)
                return
            outcomes[task.id] = Outcome(**message["outcome"])
            worker.task = None
        on_event(task.id, ending(outcomes[task.id]))

    def _give(self, worker: _Worker, task: Job) -> None:
        worker.task, worker.data = task, task.data
        if worker.ended:
            self._inbox.put((worker, "stdout", None))
        pipe = worker.process.stdin
        if pipe is not None:
            with suppress(BrokenPipeError):  # A dead worker is noticed by the end of its output.
                pipe.write(json.dumps(dict(task.work)) + "\n")
                pipe.flush()

    def _start(self) -> _Worker:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "isoprune.experiment.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            # What can be imported here can be imported there: "their_module:function".
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            process_group=0,  # Ctrl-C is for the parent, which ends its workers in order.
        )
        worker = _Worker(process)
        for channel in ("stdout", "stderr"):
            listener = threading.Thread(target=self._listen, args=(worker, channel), daemon=True)
            listener.start()
            worker.listeners.append(listener)
        return worker

    def _listen(self, worker: _Worker, channel: str) -> None:
        stream = getattr(worker.process, channel)
        with suppress(ValueError):  # The stream was closed while being read.
            for line in stream:
                if channel == "stderr":  # At once: its end may be heard before what is in the inbox.
                    worker.stderr.append(line.rstrip("\n"))
                self._inbox.put((worker, channel, line.rstrip("\n")))
        self._inbox.put((worker, channel, None))


def skip_orphans(waiting: list[Job], outcomes: dict[str, Outcome], on_event: OnEvent) -> None:
    """Mark the tasks that depend on a failed one as failed."""
    for task in list(waiting):
        before = outcomes.get(task.after or "")
        if before is not None and before.error is not None:
            waiting.remove(task)
            outcomes[task.id] = Outcome(before.error, before.mendable)
            on_event(task.id, ending(outcomes[task.id]))


def ending(outcome: Outcome) -> dict[str, Any]:
    """Return the event of a task's end."""
    return {"state": "done"} if outcome.error is None else {"state": "failed", "error": outcome.error}


def _next(waiting: Sequence[Job], outcomes: Mapping[str, Outcome], worker: _Worker) -> Job | None:
    """Return the first task that may start; among those, one on the worker's own data if there is one."""
    ready = [task for task in waiting if task.after is None or task.after in outcomes]
    # Tasks that others wait for go first, whatever data they read.
    awaited = {task.after for task in waiting}
    ready = [task for task in ready if task.id in awaited] or ready
    return next((task for task in ready if task.data == worker.data), ready[0] if ready else None)


def _end(worker: _Worker) -> None:
    """End a worker at once; what it was writing is either whole or not there."""
    worker.process.kill()
    worker.process.wait()
    for listener in worker.listeners:
        listener.join(timeout=1)  # Its pipe has ended, unless a grandchild holds it.
    for stream in (worker.process.stdin, worker.process.stdout, worker.process.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.close()
