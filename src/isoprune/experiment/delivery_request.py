"""The request for a delivery, the experiment that follows from it, and the folder that stores both."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from msgspec import Meta, Struct, to_builtins
from torch import nn

from isoprune.experiment.choice import read_choice
from isoprune.experiment.config import Experiment, experiment
from isoprune.experiment.data_fit import check_trained, fitting
from isoprune.experiment.foreign_models import LIBRARIES
from isoprune.experiment.grid import override
from isoprune.experiment.named_data import images_in, images_of
from isoprune.experiment.named_network import of_source
from isoprune.experiment.network_names import RECIPE, saved_place
from isoprune.experiment.recipe import EPOCHS, recipe
from isoprune.experiment.recipe_criterion import RecipeCriterion, criterion_for
from isoprune.experiment.resolve import resolve
from isoprune.experiment.validation import read
from isoprune.export import manifest, open_source
from isoprune.models import MODELS
from isoprune.training.loop import PLAIN
from isoprune.training.speed import fastest_loop
from isoprune.types import Splits
from isoprune.types.errors import IsopruneError
from isoprune.types.json_files import read_json, write_json
from isoprune.types.samples import inputs_at
from isoprune.types.training_options import OptimizerName
from isoprune.verbs import prune

_LOOP_KEYS = ("retrain.precision", "retrain.channels_last")
_CRITERION_KEYS = ("prune", "prune.criterion", "prune.criterion.name")
_REMEDY = "Give another --out, or delete that folder."


@dataclass(frozen=True)
class Request:
    """What is to be made of which network, and on which data.

    ``target`` is one of ratio, flops, parameters and latency, as `isoprune.prune` takes them, ``pruning``
    its other options, with a criterion only if the user names one. ``settings`` are ``key=value`` of an
    experiment's file, which change anything else. ``build`` makes the dense network of a source that is a
    saved folder.
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
    build: str | None = None
    optimizer: OptimizerName = "sgd"


@dataclass(frozen=True)
class TimingRequest:
    """How latency is measured: on which backends it is reported, and on which one a target of it."""

    backends: Sequence[str] = ()
    target_backend: str | None = None
    threads: int = 1


class Steps(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How steps are taken, as `training.Loop` has it."""

    precision: Literal["full", "bf16"] = "full"
    channels_last: bool = False


_PLAIN_STEPS, _L1 = Steps(), RecipeCriterion()


@dataclass(frozen=True)
class ResolvedRequest:
    """The experiment of a request, and what was measured for it.

    ``ratio`` is what a target in time came to, else 0; ``steps`` how retraining takes its steps fastest,
    ``criterion`` what channels are chosen by where the request says nothing.
    """

    experiment: Experiment
    ratio: float = 0.0
    steps: Steps = _PLAIN_STEPS
    criterion: RecipeCriterion = _L1


def choose(
    request: Request, out: Path, timing: TimingRequest, on_stage: Callable[[str], object]
) -> ResolvedRequest:
    """Return the experiment of a request: that of the folder, if it holds one. Nothing is written yet.

    Raises:
        IsopruneError: If network, data and request do not fit together, or ``out`` is about another request.
    """
    if (there := _resumed(request, out)) is not None:
        return there
    chosen = _of(request)
    _check_trainings(request.source, chosen.experiment)
    on_stage("reading the data")
    model, splits = fitting(chosen.experiment)
    if not chosen.experiment.dense.epochs:
        check_trained(model, splits, request.source)
    timed = "latency" in request.target
    ratio = _ratio_in_time(request, model, splits, timing, on_stage) if timed else 0.0
    steps = _fastest(request, chosen.experiment, model, splits, on_stage)
    named = "criterion" in request.pruning or _sets(request, _CRITERION_KEYS)
    criterion = _L1 if named else criterion_for(chosen.experiment, model, splits)
    return _of(request, ratio, steps, criterion)


def claim(request: Request, out: Path, made: ResolvedRequest) -> ResolvedRequest:
    """Write the request into its folder, whose lock is held; return the folder's own if it has one."""
    if (there := _resumed(request, out)) is not None:  # Another process was faster, and its ratio counts.
        return there
    config = made.experiment.as_dict()
    facts = {"steps": to_builtins(made.steps), "criterion": to_builtins(made.criterion)}
    write_json(out / RECIPE, {"request": _plain(request), "ratio": made.ratio, **facts, "config": config})
    return made


def _plain(request: Request) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(request)))


def _of(
    request: Request, ratio: float = 0.0, steps: Steps = _PLAIN_STEPS, criterion: RecipeCriterion = _L1
) -> ResolvedRequest:
    table = override(_table(request, ratio, steps, criterion), request.settings)
    return ResolvedRequest(resolve(experiment(table)), ratio, steps, criterion)


def _sets(request: Request, keys: Sequence[str]) -> bool:
    return any(setting.partition("=")[0].strip() in keys for setting in request.settings)


class _Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a folder's recipe file."""

    request: dict[str, Any]
    ratio: Annotated[float, Meta(ge=0, lt=1)]
    steps: Steps
    criterion: RecipeCriterion
    config: dict[str, Any]


def _resumed(request: Request, out: Path) -> ResolvedRequest | None:
    """Return the experiment of a folder that holds this request, None if it holds none yet.

    It is made from the request alone, and compared: the folder may be anybody's. What was measured, which
    may be another if it were measured again, the folder knows: the ratio of a target in time, the steps and
    the criterion.

    Raises:
        IsopruneError: If it holds another request.
    """
    file, remedy = out / RECIPE, "delete the file and start again: what is finished is kept."
    try:
        content = read_json(file, remedy=remedy.capitalize())
    except FileNotFoundError:
        return None
    try:
        found = read(_Recipe, content, str(file))
    except IsopruneError as error:
        raise IsopruneError(f"{error} Or {remedy}") from None
    wanted, there = _plain(request), found.request.get("target")
    timed = "latency" in wanted["target"] or (isinstance(there, dict) and "latency" in there)
    if timed and found.request != wanted:
        difference = _difference(found.request, wanted)
        raise IsopruneError(f"{out} holds another recipe: {difference}. {_REMEDY}")
    chosen = _of(request, found.ratio, found.steps, found.criterion)
    if found.config != chosen.experiment.as_dict():
        difference = _difference(found.config, chosen.experiment.as_dict())
        raise IsopruneError(f"{out} holds another recipe: {difference}. {_REMEDY}")
    return chosen


def _table(request: Request, ratio: float, steps: Steps, criterion: RecipeCriterion) -> dict[str, Any]:
    """Return the recipe's table; ``ratio`` is that of a target in time, 0 as long as it is not known."""
    target = {"ratio": ratio} if "latency" in request.target else dict(request.target)
    given = {"weights": request.weights, "build": request.build}
    given = {name: value for name, value in given.items() if value is not None}
    return recipe(
        model={"name": request.source, **given},
        data=_data(request),
        prune={"criterion": criterion.criterion, **target, **request.pruning},
        epochs=request.epochs,
        dense_epochs=request.dense_epochs,
        seed=request.seed,
        optimizer=request.optimizer,
        loop=to_builtins(steps),
    )


def _check_trainings(source: str, experiment: Experiment) -> None:
    drawn = source in MODELS or source.partition(":")[0] in LIBRARIES
    if drawn and experiment.model.options.get("weights", "none") == "none" and not experiment.dense.epochs:
        raise IsopruneError(
            f"The weights of {source} are random, and pruning starts from a trained network. Give them: "
            "--weights FILE, or train it first: --dense-epochs 10."
        )


def _data(request: Request) -> dict[str, Any]:
    images = images_in(request.data)
    if images is None:
        return read_choice(request.data, "--data", '{name = "fashion_mnist", limit = 10000}').as_dict()
    shape = request.shape

    def takes() -> Sequence[int]:
        return shape[1:] if shape and len(shape) == 4 else _takes(request.source)

    return images_of(images, takes, request.source, of_source(request.source)).as_dict()


def _takes(source: str) -> tuple[int, ...]:
    if ":" not in source:
        return 3, 32, 32
    if (place := saved_place(source)) is not None:
        known = manifest.read(Path(place)).in_shape or ()
        return tuple(known[1:])
    shape = getattr(open_source(source).example_inputs, "shape", ())
    if len(shape) != 4:
        raise IsopruneError(f"{source} does not say that it takes images. Give --shape 1,3,224,224.")
    return tuple(shape[1:])


def _fastest(
    request: Request,
    experiment: Experiment,
    model: nn.Module,
    splits: Splits,
    on_stage: Callable[[str], object],
) -> Steps:
    """Return the fastest way to take the steps of retraining here, unless the request says one."""
    if _sets(request, _LOOP_KEYS) or not experiment.retrain.epochs:
        return _PLAIN_STEPS
    on_stage("looking for the fastest way to take steps")
    how = experiment.retrain
    batch = min(how.batch, len(splits.train))
    inputs = inputs_at(splits.train, torch.arange(batch))
    steps = how.steps or how.epochs * -(-len(splits.train) // batch)
    loop, speeds = fastest_loop(model, inputs, torch.zeros(batch, dtype=torch.long), steps=steps)
    on_stage(f"steps {loop.in_words()}: {speeds[loop]:.0f} samples a second, plain {speeds[PLAIN]:.0f}")
    return Steps(loop.precision, loop.channels_last)  # pyright: ignore[reportArgumentType]


def _ratio_in_time(
    request: Request,
    model: nn.Module,
    splits: Splits,
    timing: TimingRequest,
    on_stage: Callable[[str], object],
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


def _difference(there: Any, here: Any, key: str = "") -> str:
    """Return the first key at which two tables differ, and both values."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in dict.fromkeys([*there, *here]):
            if there.get(name) != here.get(name):
                return _difference(there.get(name), here.get(name), f"{key}.{name}".lstrip("."))
    return f"{key} is {json.dumps(there)} there and {json.dumps(here)} here"
