"""A network pruned, retrained and exported by the default recipe into one folder; resumed if interrupted.

The folder holds the small network (network/), the record with its times, and the store of all steps (runs/).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from msgspec import structs, to_builtins

from isoprune.experiment import pipeline
from isoprune.experiment.delivery_request import Request, TimingRequest, choose, claim
from isoprune.experiment.network_names import NETWORK, RECIPE, RUNS, saved_place
from isoprune.experiment.saved_models import open_pruned
from isoprune.experiment.step_result import StepResult
from isoprune.experiment.store import Store
from isoprune.export import export_onnx, latency
from isoprune.export.backends import check_backends
from isoprune.export.checkpoint import write
from isoprune.export.folder import ONNX, PREDICT, aside, check_target, replacing
from isoprune.export.onnx import installed
from isoprune.export.predict import PROGRAM, about
from isoprune.export.sources import short_name
from isoprune.graph import trace
from isoprune.pruning import Proof, Pruned
from isoprune.types import Splits
from isoprune.types.duration import duration
from isoprune.types.errors import IsopruneError
from isoprune.types.files import explained
from isoprune.types.json_files import write_json
from isoprune.types.locks import locked
from isoprune.types.record import Record, Timed
from isoprune.types.record_files import WHOLE, read_record
from isoprune.types.seeded import seeded
from isoprune.types.temporary import clear_temporary, is_temporary
from isoprune.verbs.prune import joined

RECORD, PAGE, LOCK = "record.json", "index.html", "runs/.lock"
_UNTIMED = TimingRequest()
_OURS = (RECIPE, RECORD, PAGE, NETWORK, RUNS)


@dataclass(frozen=True)
class Delivery:
    """The result: the record with its times, the network's folder, and its ONNX file if there is one.

    ``because`` is why channels were not chosen by `reconstruction`; "" where they were, or one was named.
    ``read`` is how many training samples choosing and refitting looked at, of ``train``.
    """

    name: str
    record: Record
    network: Path
    onnx: Mapping[str, Any] | None
    read: int
    train: int
    because: str = ""


def deliver(
    request: Request,
    out: str | Path,
    *,
    timing: TimingRequest = _UNTIMED,
    on_stage: Callable[[str], object] = lambda _: None,
) -> Delivery:
    """Prune, repair, find the learning rate, retrain, save and time; or do what is left of it.

    With 0 epochs nothing is trained: what was pruned and refit on data is saved.

    Args:
        request: Which network, on which data, how much goes.
        out: The folder, new or of this very request.
        timing: The backends on which both networks are timed.
        on_stage: Called with what is being done, for a progress display.

    Raises:
        IsopruneError: If network, data and request do not fit together, or ``out`` is about another request;
            before anything is written.
    """
    out = Path(out)
    on_stage("reading what is to be done")
    name = short_name(request.source)
    check_backends([*timing.backends, *filter(None, [timing.target_backend])], timing.threads)
    _check_folder(out)
    chosen = choose(request, out, timing, on_stage)

    def tell(event: Mapping[str, Any]) -> None:
        on_stage(_in_words(event))

    with ExitStack() as locks:
        with explained(out):
            locks.enter_context(locked(out / LOCK))
            clear_temporary(out)
            chosen = claim(request, out, chosen)
        store, experiment = Store(out / RUNS), chosen.experiment
        record = pipeline.run(experiment, store, name=name, on_event=tell)
        # Found in the store, and built anew from what was asked for.
        way = pipeline.results(pipeline.make_bench(experiment, store, tell))
        splits = pipeline.splits_of(experiment)
        made = _delivered(request, name, record, way, splits, out, timing, on_stage)
        return replace(made, because=chosen.criterion.because)


def _check_folder(out: Path) -> None:
    if out.is_file():
        raise IsopruneError(f"{out} is a file. Give a directory: --out DIR.")
    foreign = sorted(p.name for p in out.iterdir() if not _ours(p.name)) if out.is_dir() else []
    if foreign:
        raise IsopruneError(
            f"{out} holds {foreign[0]}, which no recipe wrote. Give a new or an empty directory: --out DIR."
        )
    check_target(out / NETWORK)


def _ours(name: str) -> bool:
    return name in _OURS or is_temporary(name) or name == aside(Path(NETWORK)).name


def _delivered(
    request: Request,
    name: str,
    record: Record,
    way: Sequence[StepResult],
    splits: Splits,
    out: Path,
    timing: TimingRequest,
    on_stage: Callable[[str], object],
) -> Delivery:
    """Save and time the network; what was timed on these backends already is not timed again."""
    by_role = {result.step.role: result for result in way}
    dense, small, pruned = by_role["dense"].model, way[-1].model, by_role["pruned"]
    read = max(made.facts.get("read", 0) for made in way)
    example = torch.randn(2, *splits.in_shape, generator=seeded(request.seed))
    on_stage("saving")
    proof = Proof(**pruned.facts["proof"])
    graph = trace(dense, example)
    result = Pruned(small, dense, pruned.plan, graph, proof, pruned.costs, example_inputs=example)
    source = request.source
    if (folder := saved_place(source)) is not None:  # its rounds and this one make one plan
        first, before = open_pruned(folder, build=request.build, shape=example.shape, seed=request.seed)
        result, source, dense = joined(before, result), first.text, first.model
    place, onnx = out / NETWORK, None
    with replacing(place) as part:
        write(result, part, dense=dense, source=source, data=splits)
        if installed():
            written = export_onnx(small, part / ONNX, example, metadata=about(splits))
            onnx = {**written, "path": str(place / ONNX)}
            how = splits.preprocessing
            # What a function of the user's makes of an image, ten lines without it cannot.
            if how is not None and how.transform is None and onnx["dynamic_batch"]:
                (part / PREDICT).write_text(PROGRAM, encoding="utf-8")
    backends = list(timing.backends) or ["eager", *["onnxruntime"] * installed()]
    rows = _timed(out / RECORD, record.digest, backends)
    if rows is None:
        rows = latency(
            {"dense": by_role["dense"].model, "pruned": small},
            example[:1],
            backends=backends,
            threads=timing.threads,
            on_backend=lambda backend: on_stage(f"timing on {backend}"),
        ).as_rows()
    timed = structs.replace(record, latency=rows)
    with explained(out):
        write_json(out / RECORD, to_builtins(timed))
    return Delivery(name, timed, place, onnx, read, len(splits.train))


def _timed(path: Path, digest: str, backends: list[str]) -> list[Timed] | None:
    """Return the times that this recipe measured already, None if it did not, or on other backends."""
    try:
        record = read_record(path, WHOLE)
    except (FileNotFoundError, IsopruneError):  # They are measured again.
        return None
    rows = record.latency
    same = record.digest == digest and list(dict.fromkeys(row["backend"] for row in rows)) == backends
    return rows if same else None


def _in_words(event: Mapping[str, Any]) -> str:
    if "probe" in event:
        return f"looking for the learning rate: {event['probe']} of at most {event['probes']} rates tried"
    epoch, epochs, accuracy = event["epoch"], event["epochs"], event.get("accuracy")
    sentence = f"{event['stage']} network: epoch {epoch} of {epochs}"
    sentence += "" if accuracy is None else f", validation accuracy {accuracy:.2%}"
    left = (epochs - epoch) * event.get("seconds", 0.0)
    return sentence + (f", about {duration(left)} to go" if left else "")
