"""Every network of torchvision and one of each family in timm, no hints: python benchmarks/coverage.py

Each is built with random weights (nothing zero, BatchNorm settled on its inputs), asked to lose half of its
channels by L1 norm, and proven, in a process of its own (one thread, 300 s of CPU, 9 GB); inputs are as
small as the network allows in eval and in train mode. *Right*: proven, also on inputs that it was not proven
on, and of the filters that do not make the output at least 95 % could go; what could not is listed. *Partly*:
proven, but more had to stay. *Refused*: no smaller network was handed out. *Wrong*: one was, and it is not
the dense one without these channels; there must be none. *Trains*: after that, in train mode with all its
further heads, a step of SGD on the squares of its outputs runs, and all numbers stay finite. Networks of
more than 700 million parameters are skipped. Writes docs/coverage.md; rows already in ``--keep FILE`` are
not run again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import resource
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

SECONDS, BYTES, PARAMETERS = 300, 9 * 2**30, 700e6
PARTLY = 0.05  # of the filters
HERE = Path(__file__).resolve()
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # weights that make a proof mean something: tests/pruning/zoo.py
EXPECTED = ("the network's output", "vocabulary")


class Skipped(Exception):
    """A network that is not tried, and why."""


def networks() -> Iterator[str]:
    """Yield library:name, one of each family (the smallest of a family's module) in timm."""
    import timm
    import torchvision

    for name in torchvision.models.list_models(module=torchvision.models):
        yield f"torchvision:{name}"
    for family in timm.list_modules():
        names = [n for n in timm.list_models(module=family) if not n.startswith("test_")]
        if names:
            yield f"timm:{min(names, key=smallness)}"


def smallness(name: str) -> tuple[int, int, str]:
    """Order names so that small variants come first."""
    words = ("atto", "femto", "pico", "nano", "xxs", "tiny", "_xs", "small", "_s", "18", "_t")
    return (min((i for i, w in enumerate(words) if w in name), default=len(words)), len(name), name)


def built(name: str) -> tuple[Any, Any]:
    """Return the network, as after training, on the smallest inputs that it takes."""
    import torch

    from pruning.zoo import Entry, image, made, timm_network, torchvision_network

    library, short = name.split(":")
    build = torchvision_network if library == "torchvision" else timm_network
    try:
        with torch.device("meta"):
            probe = build(short)
    except NotImplementedError:  # its constructor computes
        probe = build(short)
    size = sum(p.numel() for p in probe.parameters())
    if size > PARAMETERS:
        raise Skipped(f"{size / 1e6:.0f} million parameters")
    native = getattr(probe, "default_cfg", {}).get("input_size", (3, 224, 224))
    fixed = getattr(probe, "default_cfg", {}).get("fixed_input_size", False)
    sizes = [native[1]] if fixed else sorted({64, 96, 128, native[1], 299})
    problem: Exception | None = None
    for pixels in sizes:
        entry = Entry(name, lambda: build(short), lambda n=pixels: channels(image(n), native[0]))
        try:
            model = made(entry)
            with torch.no_grad():
                model(entry.inputs())
                if pixels < max(sizes):  # heads of train mode may need more
                    statistics = [b.clone() for b in model.buffers()]
                    model.train()(two(entry.inputs()))
                    for buffer, before in zip(model.buffers(), statistics, strict=True):
                        buffer.copy_(before)
            return model.eval(), entry.inputs()
        except Exception as error:
            problem = error
    raise Skipped(f"not built: {type(problem).__name__}: {problem}")


def channels(x: Any, number: int) -> Any:
    return x if number == 3 else x[:, :1].expand(-1, number, -1, -1).contiguous()


def two(x: Any) -> Any:
    """Return a batch of two: BatchNorm trains by no less."""
    import torch

    return torch.cat([x, x.flip(-1)])


def one(name: str) -> dict[str, Any]:
    """Prune one network in this process and say how it went."""
    import torch

    from isoprune.pruning import WrongNetwork
    from isoprune.types import IsopruneError
    from isoprune.verbs import prune

    torch.set_num_threads(1)
    model, x = built(name)
    row: dict[str, Any] = {
        "name": name,
        "pixels": x.shape[-1],
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    begin = time.process_time()
    try:
        result = prune(model, x, 0.5)
    except IsopruneError as error:  # WrongNetwork too: it was not handed out
        return {**row, "verdict": "refused", "why": reason(error), "seconds": time.process_time() - begin}
    row["seconds"] = time.process_time() - begin
    frozen: dict[str, int] = {}
    filters = {n for n, _ in model.named_parameters()}  # tables of positions in buffers are none
    for f in result.graph.frozen:
        if f.tensor in filters and not any(e in f.reason for e in EXPECTED):
            frozen[f.reason] = frozen.get(f.reason, 0) + f.channels
    other = x.flip(-1) * 1.3  # the proof must hold on inputs that it was not made on
    from isoprune.pruning import verify

    try:
        verify(model, result.model, result.graph, result.plan, other)
    except WrongNetwork as error:
        return {**row, "verdict": "wrong", "why": str(error)}
    made = sum(f.channels for f in result.graph.frozen if f.tensor in filters and f.reason != EXPECTED[0])
    members = [m for g in result.graph.groups for m in g.members if m.role == "out"]
    made += sum(m.channels.numel() for m in members if m.tensor in filters)
    stays = sum(frozen.values()) / max(made, 1)
    why = "; ".join(
        f"{reason} ({number} channels)" for reason, number in sorted(frozen.items(), key=lambda f: -f[1])
    )
    gone = result.costs.ratios
    done = {
        "verdict": "partly" if stays > PARTLY else "right",
        "stays": stays,
        "why": why,
        "error": result.proof.relative_error,
    }
    done["trains"] = trains(result.model, x)
    times = {"flops": 1 / (1 - gone["flops"]), "weights": 1 / (1 - gone["parameters"])}
    return {**row, **done, **times, "filters": gone["filters"]}


def trains(model: Any, x: Any) -> str:
    """Return "yes", or what a step in train mode failed by."""
    import torch
    from torch.utils._pytree import tree_leaves

    model.train().requires_grad_(True)
    rate = torch.optim.SGD(model.parameters(), lr=1e-6)
    try:
        made = [t for t in tree_leaves(model(two(x))) if t.is_floating_point()]
        sum(t.square().mean() for t in made).backward()
        rate.step()
    except Exception as error:
        return reason(error)
    whole = all(bool(p.isfinite().all()) for p in model.parameters())
    moved = any(p.grad is not None and bool(p.grad.any()) for p in model.parameters())
    return "yes" if whole and moved else "no: numbers that are not finite" if moved else "no: no gradient"


def child(name: str, end: Connection) -> None:
    """Run `one` within the memory limit and send what it found."""
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 9))  # whatever else the machine does
    try:
        end.send(one(name))
    except Skipped as skipped:
        end.send({"name": name, "verdict": "skipped", "why": str(skipped)})
    except Exception as error:
        end.send({"name": name, "verdict": "refused", "why": reason(error)})


def reason(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}"
    if any(words in text for words in ("allocate memory", "Unable to allocate", "MemoryError")):
        return f"out of memory ({BYTES / 2**30:.0f} GB)"
    return text.splitlines()[0][:300]


def limited(name: str) -> dict[str, Any]:
    """Run `one` in a process of its own (forked: torch is imported once), with limits."""
    forked = multiprocessing.get_context("fork")
    mine, theirs = forked.Pipe(duplex=False)
    process = forked.Process(target=child, args=(name, theirs))
    process.start()
    theirs.close()
    try:
        row = mine.recv()
    except EOFError:
        process.join()
        late = process.exitcode == -signal.SIGXCPU
        why = f"longer than {SECONDS} s" if late else f"out of memory ({BYTES / 2**30:.0f} GB)"
        return {"name": name, "verdict": "refused", "why": why}
    process.join()
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Return the page."""
    tried = [r for r in rows if r["verdict"] != "skipped"]
    count = {v: sum(r["verdict"] == v for r in tried) for v in ("right", "partly", "refused", "wrong")}
    share = 100 * count["right"] / max(len(tried), 1)
    days = sorted(Counter(r["day"] for r in rows).items())
    lines = [
        "# Which networks isoprune prunes, without hints",
        "",
        "Made by `python benchmarks/coverage.py`.",
        *(line for line in (__doc__ or "").splitlines()[1:]),
        "",
        f"{len(tried)} networks: **{count['right']} right ({share:.1f} %)**, "
        f"where 95 % of the filters could go; {count['partly']} proven but partly frozen; "
        f"{count['refused']} refused, **{count['wrong']} wrong**. "
        f"{len(rows) - len(tried)} skipped. A training step ran after pruning in "
        f"{sum(r.get('trains') == 'yes' for r in tried)} of {sum('trains' in r for r in tried)}.",
        "",
        f"Rows are of {', '.join(f'{day} ({n})' for day, n in days)}. Seconds are of CPU, of `prune`.",
        "",
        "| network | verdict | pixels | seconds | FLOPs ÷ | parameters ÷ | trains | what stays, and why |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        numbers = [f"{r[k]:.1f}" if k in r else "" for k in ("seconds", "flops", "weights")]
        why = r.get("why", "").replace("|", "/")
        why = why if len(why) < 240 else why[:240] + " …"
        lines.append(
            f"| {r['name']} | {r['verdict']} | {r.get('pixels', '')} | {' | '.join(numbers)} "
            f"| {r.get('trains', '')} | {why} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="library:name; without: all")
    parser.add_argument("--keep", type=Path, help="JSON lines of rows; those there already are not run again")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "coverage.md")
    options = parser.parse_args()
    import timm  # noqa: F401  once, for all children
    import torch
    import torchvision  # noqa: F401

    import isoprune.methods.criteria
    import isoprune.pruning  # noqa: F401

    torch.set_num_threads(1)
    kept = options.keep.read_text().splitlines() if options.keep and options.keep.exists() else []
    rows = {r["name"]: r for r in map(json.loads, kept)}
    for name in options.names or list(networks()):
        if name in rows and not options.names:
            continue
        rows[name] = {**limited(name), "day": str(datetime.date.today())}
        print(json.dumps(rows[name]), flush=True)
        if options.keep:
            options.keep.write_text("".join(json.dumps(r) + "\n" for r in rows.values()))
    order = {name: i for i, name in enumerate(networks())}
    options.out.write_text(table(sorted(rows.values(), key=lambda r: order[r["name"]])), encoding="utf-8")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
