"""An experiment with every choice looked up, checked and completed, before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from msgspec import structs

from isoprune.experiment.config import Choice, Experiment, choice
from isoprune.experiment.replay import replayed
from isoprune.experiment.signatures import (
    complete,
    find,
    label_of,
    round_ratios,
    schedule,
    table,
    takes_weights,
    task_of,
)
from isoprune.experiment.step_types import (
    Cluster,
    Measuring,
    Prune,
    Repair,
    Repeat,
    Retrain,
    Rewind,
    Step,
    Train,
    TrainingConfig,
)
from isoprune.types.errors import IsopruneError
from isoprune.types.method import method_of

MEASURES = "measure.measures"


def resolve(experiment: Experiment) -> Experiment:
    """Return the experiment with every choice looked up, checked and completed; imports torch.

    Raises:
        IsopruneError: For an unknown method or option, a wrong type, or options that do not fit together.
    """
    task_of(experiment.task)
    steps = _Steps()
    done = [steps.complete(step, key) for key, step in experiment.keyed()]
    _check_repairs(experiment)
    _check_pressed_masks(experiment)
    return structs.replace(
        experiment,
        data=complete("data", experiment.data, "data"),
        model=_pinned(complete("model", experiment.model, "model")),
        steps=tuple(_grouped(iter(done))),
        measure=_complete_measuring(experiment.measure),
    )


def _complete_measuring(measuring: Measuring) -> Measuring:
    every = measuring.measures == "all"
    chosen = [(Choice(name), MEASURES) for name in table("measure")] if every else _named(measuring)
    done = [complete("measure", one, key) for one, key in chosen]
    for name, times in Counter(one.name for one in done).items():
        if times > 1:
            raise IsopruneError(f"{MEASURES} has {name!r} {times} times. Name each measure once.")
    return structs.replace(measuring, measures=tuple(done))


def _named(measuring: Measuring) -> list[tuple[Choice, str]]:
    """Return the measures that are named, each with its key."""
    named = () if isinstance(measuring.measures, str) else measuring.measures
    return [(one, f"{MEASURES}[{i}]") for i, one in enumerate(named)]


def _grouped(flat: Iterator[Step]) -> Iterator[Step]:
    """Put the steps that follow a repeat back into it."""
    for step in flat:
        if isinstance(step, Repeat):
            yield structs.replace(step, steps=tuple(next(flat) for _ in step.steps))
        else:
            yield step


class _Steps:
    """Steps one after the other: a retraining may replay the dense training that came before it."""

    def __init__(self) -> None:
        self.dense = TrainingConfig(0)
        self.rewind: int | None = None

    def complete(self, step: Step, key: str) -> Step:
        match step:
            case Repeat():
                return _complete_repeat(step, key)
            case Rewind():
                self.rewind = step.epoch
                return step
            case Cluster():
                return step
            case Repair():
                where = key if key == "repair" else f"{key}.method"
                return structs.replace(step, method=complete("repair", step.method, where))
            case Prune():
                _check_grain(step, key)
                train = step.train and _complete_training(step.train, f"{key}.train", removes=True)
                criterion = complete("criterion", step.criterion, f"{key}.criterion")
                if train and train.penalty:
                    _check_pressed(criterion, train.penalty, step.grain, key)
                return structs.replace(step, criterion=criterion, train=train)
            case Retrain() if step.epochs:
                schedule = replayed(step, key, dense=self.dense, rewind=self.rewind)
                self.rewind = None
                return _complete_training(structs.replace(step, schedule=schedule), key)
            case Train():
                self.dense = step
        return _complete_training(step, key)


def _complete_repeat(step: Repeat, key: str) -> Repeat:
    if step.cadence is None:
        return step
    done = complete("cadence", step.cadence, f"{key}.cadence")
    for number, ratio in enumerate(round_ratios(done, step.rounds), 1):
        if not 0 <= ratio < 1:
            raise IsopruneError(
                f"{key}.cadence removes {ratio:g} of what is left in round {number}, outside [0, 1)."
            )
    return structs.replace(step, cadence=done)


def _complete_training(training: Any, key: str, *, removes: bool = False) -> Any:
    from isoprune.training.tracking import check_trackers

    if not training.epochs:
        return training
    done = structs.replace(training, schedule=complete("schedule", training.schedule, f"{key}.schedule"))
    schedule(done)  # The factory judges its options now, not after an hour of training.
    check_trackers(training.trackers)
    if done.penalty is None:
        return done
    penalty = complete("penalty", done.penalty, f"{key}.penalty")
    _check_penalty(penalty, key, removes=removes)
    return structs.replace(done, penalty=penalty)


def _check_grain(step: Prune, key: str) -> None:
    from isoprune.pruning.grains import read_grain
    from isoprune.types.units import DEPTH
    from isoprune.verbs.request import check_options

    try:
        grain = read_grain(step.grain)
    except IsopruneError as error:
        raise IsopruneError(f"{key}.grain: {error}") from None
    if grain.name == DEPTH and step.mask:
        raise IsopruneError(
            f"{key}.mask: whole blocks are taken out of their lists and held by no mask. Leave mask out, or "
            "take another grain."
        )
    try:
        check_options(
            grain,
            step.ratio,
            allocation=step.allocation,
            scope=step.scope,
            round_to=step.round_to,
            cap=step.cap,
        )
    except IsopruneError as error:
        raise IsopruneError(f"{key}: {error}") from None


def _check_repairs(experiment: Experiment) -> None:
    """Raise for a repair that does not know the units that the last pruning before it takes away."""
    from isoprune.pruning.grains import require_grain

    grain = "channel"
    for key, step in experiment.keyed():
        if isinstance(step, Prune):
            grain = step.grain
        for one, where in _repairs_of(step, key) if isinstance(step, Repair) else ():
            try:
                require_grain(find("repair", one.name), grain)
            except IsopruneError as error:
                raise IsopruneError(f"{where}: {error}") from None


def _repairs_of(step: Repair, key: str) -> Iterator[tuple[Choice, str]]:
    """Yield the repair of a step, and those that it is a chain of, each with its key."""
    yield step.method, key if key == "repair" else f"{key}.method"
    parts = step.method.options.get("steps", ()) if step.method.name == "chain" else ()
    yield from ((choice(part, f"{key}[{i}]"), f"{key}[{i}]") for i, part in enumerate(parts))


def _check_penalty(penalty: Choice, key: str, *, removes: bool) -> None:
    """Raise if it pushes channels out and nothing is pruned afterwards, or the other way round."""
    facts = method_of(find("penalty", penalty.name))
    if facts.kind == "penalty" and facts.removes != removes:
        known = [name for name, f in table("penalty").items() if method_of(f).removes == removes]
        does = "pushes channels out" if facts.removes else "pushes no channel out"
        raise IsopruneError(
            f"{key}.penalty = {penalty.name!r} {does}. Write it under "
            f"[{'prune.train' if facts.removes else 'retrain'}], or take one of: {', '.join(known)}."
        )


def _check_pressed(criterion: Choice, penalty: Choice, grain: str, key: str) -> None:
    """Raise if a penalty does not know the units, or those are of layers that are refit as they go."""
    from isoprune.pruning.grains import read_grain

    known = method_of(find("penalty", penalty.name)).grains
    if read_grain(grain).name not in known:
        raise IsopruneError(
            f"{key}.train.penalty = {penalty.name!r} pushes out units of grain {', '.join(known)}, and "
            f"{key}.grain is {grain!r}. Take another penalty (isoprune methods penalty), or grain."
        )
    if method_of(find("criterion", criterion.name)).repair:
        raise IsopruneError(
            f"{key}.criterion = {criterion.name!r} chooses for layers that are refit as units go, "
            f"and {key}.train.penalty = {penalty.name!r} trains them instead. Take another criterion, or no "
            "penalty."
        )


def _check_pressed_masks(experiment: Experiment) -> None:
    """Raise where a penalty would press on a network that is masked already: it knows plain weights only."""
    from isoprune.pruning.grains import read_grain

    masked, left = False, 0  # steps of a repeat of several rounds
    for key, step in experiment.keyed():
        if isinstance(step, Repeat):
            left = len(step.steps) if step.rounds > 1 else 0
            continue
        if isinstance(step, Prune):
            masks = step.mask or not read_grain(step.grain).whole
            if step.train is not None and step.train.penalty is not None and (masked or (masks and left > 0)):
                raise IsopruneError(
                    f"{key}.train.penalty presses on a network that is masked already. Remove whole channels "
                    "in rounds, or mask without a penalty."
                )
            masked = masked or masks
        left -= 1


def _pinned(model: Choice) -> Choice:
    """Return a model that names the content of the file of weights it starts from, not its path alone."""
    from isoprune.models.weights import pin

    weights = model.options.get("weights")
    if weights is None or not takes_weights(model):
        return model
    return Choice(model.name, {**model.options, "weights": pin(weights)})


def choices_in(experiment: Experiment) -> Iterator[tuple[str, Choice, str]]:
    """Yield the kind of every method that an experiment chooses, the choice, and its key."""
    yield "model", experiment.model, "model"
    yield "data", experiment.data, "data"
    for key, step in experiment.keyed():
        match step:
            case Prune():
                yield "criterion", step.criterion, f"{key}.criterion"
                if step.train is not None and step.train.penalty is not None:
                    yield "penalty", step.train.penalty, f"{key}.train.penalty"
            case Repair():
                yield from (("repair", one, where) for one, where in _repairs_of(step, key))
            case TrainingConfig():
                yield "schedule", step.schedule, f"{key}.schedule"
                if step.penalty is not None:
                    yield "penalty", step.penalty, f"{key}.penalty"
            case Repeat() if step.cadence is not None:
                yield "cadence", step.cadence, f"{key}.cadence"
    yield from (("measure", one, key) for one, key in _named(experiment.measure))


def labels(experiment: Experiment) -> dict[str, str]:
    """Return how tables call the methods of a resolved experiment, of those that have a label."""
    return {one.name: label for kind, one, _ in choices_in(experiment) if (label := label_of(kind, one))}
