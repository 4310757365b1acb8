"""A network pruned, retrained and exported by the default recipe: one folder, and it goes on where it was.

The folder holds the small network (network/), the record with its times, and the store of all steps (runs/).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta, Struct, structs, to_builtins
from torch import nn

from isoprune.experiment import pipeline
from isoprune.experiment.choice import read_choice
from isoprune.experiment.config import Experiment, experiment
from isoprune.experiment.data_fit import fitting
from isoprune.experiment.foreign_models import LIBRARIES
from isoprune.experiment.grid import override
from isoprune.experiment.named_data import images_of, is_folder
from isoprune.experiment.recipe import EPOCHS, recipe
from isoprune.experiment.resolve import resolve
from isoprune.experiment.step_result import StepResult
from isoprune.experiment.store import Store
from isoprune.experiment.validation import read
from isoprune.export import export_onnx, latency, open_source, save
from isoprune.export.backends import check_backends
from isoprune.export.folder import ONNX, check_target
from isoprune.export.onnx import installed
from isoprune.export.sources import short_name
from isoprune.graph import trace
from isoprune.models import MODELS
from isoprune.pruning import Costs, Proof, Pruned
from isoprune.types import Splits
from isoprune.types.errors import IsopruneError
from isoprune.types.files import explained
from isoprune.types.json_files import read_json, write_json
from isoprune.types.record import Record
from isoprune.types.samples import inputs_at
from isoprune.verbs import prune

NETWORK, RECORD, RECIPE, PAGE, RUNS = "network", "record.json", "recipe.json", "index.html", "runs"
_OURS = (RECIPE, RECORD, PAGE, NETWORK, RUNS)
_REMEDY = "Give another --out, or delete that folder."


@dataclass(frozen=True)
class Request:
    """What is to be made of which network, and on which data.

    ``target`` is one of ratio, flops, parameters and latency, as `isoprune.prune` takes them, ``pruning`` its
    other options. ``settings`` are ``key=value`` of an experiment's file, which change anything else.
    """

    source: str
    data: str
    target: Mapping[str, float]
    pruning: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = EPOCHS
    dense_epochs: int = 0
    seed: int = 0
    shape: Sequence[int] | None = None
    weights: str | None = None
    settings: Sequence[str] = ()


@dataclass(frozen=True)
class Timing:
    """How latency is measured: on which backends it is reported, and on which one a target of it."""

    backends: Sequence[str] = ()
    target_backend: str | None = None
    threads: int = 1


@dataclass(frozen=True)
class Delivery:
    """What came out: the record with its times, where the network is, and its ONNX form if there is one."""

    name: str
    record: Record
    network: Path
    onnx: Mapping[str, Any] | None


def deliver(
    request: Request,
    out: Path,
    *,
    timing: Timing = Timing(),
    on_stage: Callable[[str], object] = lambda _: None,
) -> Delivery:
    """Prune, repair, find the learning rate, retrain, save and time; or do what is left of it.

    Raises:
        IsopruneError: If network, data and request do not fit together, or ``out`` is about another request;
            before anything is written.
    """
    on_stage("reading what is to be done")
    name = short_name(request.source)
    check_backends([*timing.backends, *filter(None, [timing.target_backend])], timing.threads)
    _check_folder(out)
    chosen = _chosen(request, out, timing, on_stage)
    store = Store(out / RUNS)
    tell: pipeline.OnEvent = lambda event: on_stage(_in_words(event))  # noqa: E731
    record = pipeline.run(chosen, store, name=name, on_event=tell)
    # Found in the store, and built anew from what was asked for.
    way = pipeline.results(pipeline.make_bench(chosen, store, tell))
    return _delivered(request, name, record, way, out, timing, on_stage)


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
    # ".network.123.part" and the like are what a killed command was just writing.
    return name in _OURS or any(name.startswith(f".{own}.") for own in _OURS)


def _chosen(request: Request, out: Path, timing: Timing, on_stage: Callable[[str], object]) -> Experiment:
    """Return the experiment, which the folder is from now on about; nothing else is written before that."""
    asked = json.loads(json.dumps(asdict(request)))
    found = _found(out, asked)
    # What is done is made from the request alone: the folder may be anybody's. Of a target in time it knows
    # the ratio, which would be another one if it were measured again.
    ratio = 0.0 if found is None else found.ratio
    chosen = resolve(experiment(override(_table(request, ratio), request.settings)))
    if found is not None:
        if found.config != chosen.as_dict():
            difference = _difference(found.config, chosen.as_dict())
            raise IsopruneError(f"{out} holds another recipe: {difference}. {_REMEDY}")
        return chosen
    _check_trainings(request.source, chosen)
    on_stage("reading the data")
    model, splits = fitting(chosen)
    if "latency" in request.target:
        ratio = _ratio_in_time(request, model, splits, timing, on_stage)
        chosen = resolve(experiment(override(_table(request, ratio), request.settings)))
    with explained(out):
        write_json(out / RECIPE, {"request": asked, "ratio": ratio, "config": chosen.as_dict()})
    return chosen


class _Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """What the folder says that it is about; ``ratio`` is what a target in time came to."""

    request: dict[str, Any]
    ratio: Annotated[float, Meta(ge=0, lt=1)]
    config: dict[str, Any]


def _found(out: Path, asked: Mapping[str, Any]) -> _Recipe | None:
    """Return the recipe that is in the folder, which is compared before anything in it is used."""
    try:
        found = read(_Recipe, read_json(out / RECIPE, remedy=f"Delete {out} and start again."))
    except FileNotFoundError:
        return None
    there: Any = found.request.get("target")
    timed = "latency" in asked["target"] or (isinstance(there, dict) and "latency" in there)
    if timed and found.request != asked:
        # Measured again it would be another ratio, so the request decides.
        difference = _difference(found.request, asked)
        raise IsopruneError(f"{out} holds another recipe: {difference}. {_REMEDY}")
    return found


def _table(request: Request, ratio: float) -> dict[str, Any]:
    """Return the recipe's table; ``ratio`` is that of a target in time, 0 as long as it is not known."""
    target = {"ratio": ratio} if "latency" in request.target else dict(request.target)
    weights = {} if request.weights is None else {"weights": request.weights}
    return recipe(
        model={"name": request.source, **weights},
        data=_data(request),
        prune={**target, **request.pruning},
        epochs=request.epochs,
        dense_epochs=request.dense_epochs,
        seed=request.seed,
    )


def _check_trainings(source: str, chosen: Experiment) -> None:
    if not chosen.retrain.epochs:
        raise IsopruneError(
            "retrain.epochs is 0, and with --data the network is retrained. Give --epochs 1 or more, or "
            "leave out --data to prune alone."
        )
    drawn = source in MODELS or source.partition(":")[0] in LIBRARIES
    if drawn and chosen.model.options.get("weights", "none") == "none" and not chosen.dense.epochs:
        raise IsopruneError(
            f"The weights of {source} are random, and pruning starts from a trained network. Give them: "
            "--weights FILE, or train it first: --dense-epochs 10."
        )


def _data(request: Request) -> dict[str, Any]:
    if not is_folder(request.data):
        return read_choice(request.data, "--data", '{name = "fashion_mnist", limit = 10000}').as_dict()
    shape = request.shape
    takes = shape[1:] if shape and len(shape) == 4 else _takes(request.source)
    return images_of(request.data, takes, request.source).as_dict()


def _takes(source: str) -> tuple[int, ...]:
    if ":" not in source:
        return 3, 32, 32
    shape = getattr(open_source(source).example_inputs, "shape", ())
    if len(shape) != 4:
        raise IsopruneError(f"{source} does not say that it takes images. Give --shape 1,3,224,224.")
    return tuple(shape[1:])


def _ratio_in_time(
    request: Request, model: nn.Module, splits: Splits, timing: Timing, on_stage: Callable[[str], object]
) -> float:
    """Return the ratio at which one sample takes so much of the dense network's time."""
    on_stage("looking for the ratio, timing networks")
    # Time depends on how many channels stay, so the weights' own scores will do before any training.
    options = {key: value for key, value in request.pruning.items() if key != "criterion"}
    result = prune(
        model,
        inputs_at(splits.validation, torch.arange(1)),
        latency=request.target["latency"],
        backend=timing.target_backend,
        threads=timing.threads,
        **options,
    )
    return result.plan.request["ratio"]


def _delivered(
    request: Request,
    name: str,
    record: Record,
    way: Sequence[StepResult],
    out: Path,
    timing: Timing,
    on_stage: Callable[[str], object],
) -> Delivery:
    """Save and time the network; what was timed on these backends already is not timed again."""
    by_role = {result.step.role: result for result in way}
    dense, small, pruned = by_role["dense"].model, by_role["retrained"].model, by_role["pruned"]
    shape = by_role["dense"].facts["in_shape"]
    example = torch.randn(2, *shape, generator=torch.Generator().manual_seed(request.seed))
    on_stage("saving")
    proof, costs = Proof(**pruned.facts["proof"]), Costs.from_dict(pruned.facts["costs"])
    result = Pruned(small, dense, pruned.plan, trace(dense, example), proof, costs)
    place = save(result, out / NETWORK, dense=dense, source=request.source)
    onnx = export_onnx(small, place / ONNX, example) if installed() else None
    backends = list(timing.backends) or ["eager", *["onnxruntime"] * installed()]
    rows = _timed(out / RECORD, record.digest, backends)
    if rows is None:
        rows = latency(
            {"dense": dense, "pruned": small},
            example[:1],
            backends=backends,
            threads=timing.threads,
            on_backend=lambda backend: on_stage(f"timing on {backend}"),
        ).as_rows()
    timed = structs.replace(record, latency=rows)
    with explained(out):
        write_json(out / RECORD, to_builtins(timed))
    return Delivery(name, timed, place, onnx)


def _timed(path: Path, digest: str, backends: list[str]) -> list[dict[str, Any]] | None:
    """Return the times that this recipe measured already, None if it did not, or on other backends."""
    try:
        record = read_json(path, remedy="Delete it and start again.")
    except FileNotFoundError:
        return None
    rows = record.get("latency", [])
    same = record.get("digest") == digest and list(dict.fromkeys(row["backend"] for row in rows)) == backends
    return rows if same else None


def _in_words(event: Mapping[str, Any]) -> str:
    if "probe" in event:
        return f"looking for the learning rate: {event['probe']} of at most {event['probes']} rates tried"
    return f"{event['stage']} network: epoch {event['epoch']} of {event['epochs']}"


def _difference(there: Any, here: Any, key: str = "") -> str:
    """Return the first key at which two tables differ, and both values."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in dict.fromkeys([*there, *here]):
            if there.get(name) != here.get(name):
                return _difference(there.get(name), here.get(name), f"{key}.{name}".lstrip("."))
    return f"{key} is {json.dumps(there)} there and {json.dumps(here)} here"
