"""The connection to an existing Ray cluster, made within seconds or refused; its nodes are checked first."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import isoprune
from isoprune.experiment import ray_node
from isoprune.experiment.executor import ONE_THREAD
from isoprune.experiment.mirror import is_url
from isoprune.types.errors import IsopruneError
from isoprune.types.files import explained

SECONDS_TO_CONNECT = 5.0
SECONDS_TO_ANSWER = 60.0  # A node that starts its first process is slow; who is slower is not waited for.


def import_ray() -> Any:
    """Return Ray.

    Raises:
        IsopruneError: If it is not installed.
    """
    try:
        import ray
        import ray.exceptions
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise IsopruneError(
            f"--executor ray needs Ray, which cannot be imported here ({error}). "
            "Install it: pip install 'isoprune[cluster]'."
        ) from None
    return ray


def connect(ray: Any, address: str) -> None:
    """Connect to the cluster at ``address``.

    Raises:
        IsopruneError: If there is none, within seconds.
    """
    problem = f"No Ray cluster answers at {address}"
    remedy = "Start one (ray start --head), or give its address: --address HOST:6379 or ray://HOST:10001."
    if (found := _known(address)) is not None:
        match = re.fullmatch(r"(?:ray://)?\[?([^/\]]+)\]?:(\d+)", found)
        if match is None:
            raise IsopruneError(
                f"--address {found!r} is neither auto, HOST:PORT nor ray://HOST:PORT. {remedy}"
            )
        try:
            _speak(match[1], int(match[2]))
        except (OSError, OverflowError) as error:
            raise IsopruneError(f"{problem} ({found}: {error}). {remedy}") from None
    # What can be imported here can be imported there, where the same directories are.
    own = [p for p in sys.path if p and not p.startswith((sys.prefix, sys.base_prefix))]
    environment = {**ONE_THREAD, "PYTHONPATH": os.pathsep.join([*own, "${PYTHONPATH}"])}
    try:
        ray.init(
            address, log_to_driver=False, logging_level=logging.ERROR, runtime_env={"env_vars": environment}
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise IsopruneError(f"{problem}: {' '.join(str(error).split())} {remedy}") from None


def _speak(host: str, port: int) -> None:
    """Raise OSError if nobody there speaks HTTP/2, as Ray's servers do: Ray itself would wait for minutes."""
    with socket.create_connection((host, port), timeout=SECONDS_TO_CONNECT) as connection:
        # The client's preface and its empty SETTINGS; a server answers with SETTINGS of its own (type 4).
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        if connection.recv(9)[3:4] != b"\x04":
            raise OSError("what answers there is not Ray")


def _known(address: str) -> str | None:
    """Return the address that "auto" stands for, if it is written down somewhere."""
    if address != "auto":
        return address
    if os.environ.get("RAY_ADDRESS", "auto") != "auto":
        return os.environ["RAY_ADDRESS"]
    with contextlib.suppress(OSError):
        return (
            (Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster").read_text().strip()
        )
    return None


@contextlib.contextmanager
def greeted(ray: Any, store: str) -> Iterator[dict[str, Any]]:
    """Yield what a node must know to work as this process does, once every node was checked.

    Raises:
        IsopruneError: If one cannot: another isoprune or none, or no way to the store.
    """
    here = {"store": store, "directory": os.getcwd(), "version": isoprune.__version__}  # noqa: PTH109
    with contextlib.ExitStack() as block:
        if not is_url(store):
            here["store"] = str(Path(store).absolute())
            token = Path(here["store"]) / f".cluster-{uuid4().hex}"
            with explained(token.parent):
                token.parent.mkdir(parents=True, exist_ok=True)
                token.touch()
            block.callback(token.unlink, missing_ok=True)
            here["token"] = str(token)
        _greet(ray, here)
        yield here


def _greet(ray: Any, here: dict[str, Any]) -> None:
    on = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    greet = ray.remote(ray_node.greet)
    greetings = [
        greet.options(num_cpus=0, max_retries=0, scheduling_strategy=on(node["NodeID"], soft=False)).remote(
            here
        )
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1
    ]
    if not greetings:
        raise IsopruneError(
            "The Ray cluster has no node with a CPU for tasks. Start one: ray start --address HOST:6379."
        )
    answered, _ = ray.wait(greetings, num_returns=len(greetings), timeout=SECONDS_TO_ANSWER)
    for answer in answered:
        try:
            reason = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            reason = (
                f"A node cannot run isoprune: {str(error.cause or error).splitlines()[-1]}. Install it there."
            )
        except ray.exceptions.RayError:  # It is gone: what was for it goes to the others.
            continue
        if reason is not None:
            raise IsopruneError(reason)
