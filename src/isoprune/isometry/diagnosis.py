"""Numbers and a verdict in words: is this network fit to be retrained, and which layers are to blame?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.forecast import Forecast
from isoprune.isometry import restoring, words
from isoprune.isometry.effort import BUDGET, Effort, plan_effort
from isoprune.isometry.estimate import estimate_jacobian_singular_values
from isoprune.isometry.exact import jacobian_singular_values
from isoprune.isometry.jacobian_operator import NoSecondDerivative
from isoprune.isometry.layers import LayerGain, filter_spectrum, layer_gains, strength_with
from isoprune.isometry.picks import InputPick, Inputs, OutputPick
from isoprune.isometry.summary import summary
from isoprune.signals.matrices import CONVOLUTIONS, TRANSPOSED, as_matrices
from isoprune.signals.samples import cut, joined
from isoprune.types import Batches, IsopruneError
from isoprune.types.seeded import seeded
from isoprune.types.shown import shown
from isoprune.types.task import samples_in

Tried = Mapping[str, nn.Module | str] | Iterable[tuple[str, nn.Module | str]]


@shown
@dataclass(frozen=True, repr=False)
class Diagnosis:
    """``verdict`` is healthy, damaged or collapsed; ``numbers`` and ``layers`` back every sentence.

    ``sigma`` holds the singular values [samples, values] of each network that was measured exactly: "" is the
    network itself, then "dense", then repairs by name. ``repairs`` are those that were measured, ``refused``
    the others, with the reason. ``effort`` says how it was measured. ``forecast``: of the accuracy after
    retraining, where it was asked for.
    """

    verdict: str
    sentences: tuple[str, ...]
    numbers: dict[str, float]
    layers: list[dict[str, Any]]
    effort: Effort
    sigma: dict[str, Tensor] = field(default_factory=dict, repr=False)
    repairs: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    forecast: Forecast | None = None

    def __str__(self) -> str:
        return "\n".join([*self.sentences, *(self.forecast.sentences if self.forecast else ())])

    def as_rows(self) -> list[dict[str, Any]]:
        """Return one row a layer, for a table: the same keys in each, None where there is no number."""
        keys = dict.fromkeys(key for row in self.layers for key in row)
        return [{key: row.get(key) for key in keys} for row in self.layers]


def diagnose(
    model: nn.Module,
    batches: Batches,
    dense: nn.Module | None = None,
    *,
    repaired: Tried | None = None,
    spare: restoring.Spare | None = None,
    samples: int | None = None,
    budget: float | int = BUDGET,
    input: InputPick = None,
    output: OutputPick = None,
    memory: int | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Return what pruning did to the network, in numbers and in words; the thresholds are in `thresholds`.

    Args:
        model: Measured in eval mode, as all networks here.
        batches: (inputs, targets); the first ``samples`` inputs are measured, targets are not read.
        dense: The network before pruning. Given, the verdict is about what was lost; else about the network
            as it is.
        repaired: As in `with_repairs`.
        spare: Gives, by a layer's name, the network had pruning spared it; None where that is not known.
        samples: How many inputs. None: 64, fewer where one alone takes long; see `plan_effort`.
        budget: Multiply-adds for a network's singular values; beyond it they are estimated, with error bars.
            ``math.inf``: exact, whatever it takes.
        seed: Of the estimate's random directions.

    ``numbers`` holds the `summary` of each network's singular values as ``jsv_mean``, ``dense_jsv_mean``,
    ``orthp_jsv_mean`` ..., ``jsv_ratio`` (model over dense), and ``dead_filters``; of estimates, mean, std,
    max and distance, with ``jsv_mean_error`` and ``jsv_ratio_error`` (half-widths, 19 times of 20).

    A layer is blamed only after a trial: of the few that would bring most back, each is restored
    (`restoring.restored`) and the network measured again; its row then has ``restored_by``,
    ``restored_mean`` and ``comes_back``, the part of what was lost that returns. Cost: four networks at most.
    Other arguments, and what raises, as in `jacobian_singular_values`.
    """
    inputs = _first(batches, 64 if samples is None else samples)
    where = {"input": input, "output": output, "memory": memory}
    largest = model if dense is None else dense
    effort = plan_effort(largest, inputs, samples=samples, budget=budget, **where)
    inputs = cut(inputs, 0, effort.samples)
    numbers: dict[str, float] = {}
    sigma: dict[str, Tensor] = {}
    for name, network in {"": model, **({"dense": dense} if dense is not None else {})}.items():
        numbers |= _measured(name, network, inputs, effort, sigma, seed, where)
    if dense is not None:
        numbers["jsv_ratio"] = numbers["jsv_mean"] / max(numbers["dense_jsv_mean"], 1e-30)
        if effort.method == "estimate":
            parts = [
                numbers[f"{n}jsv_mean_error"] / max(numbers[f"{n}jsv_mean"], 1e-30) for n in ("", "dense_")
            ]
            numbers["jsv_ratio_error"] = numbers["jsv_ratio"] * math.hypot(*parts)
    gains = layer_gains(model, inputs, **where)
    before = layer_gains(dense, inputs, **where) if dense is not None else None
    layers = _layer_rows(model, gains, before)
    numbers["dead_filters"] = float(sum(row.get("dead_filters", 0) for row in layers))
    if restoring.what_was_lost(numbers)[1]:
        returns = strength_with(model, inputs, restoring.candidates(layers), seed=seed, **where)
        done: set[str] = set()
        for row in restoring.suspects(layers, returns):
            if (layer := restoring.layer_of(row)) in done:
                continue
            trial = restoring.restored(model, dense, layers, layer, spare)
            done |= {layer, *trial.others}
            try:
                found = _measured("restored", trial.network, inputs, effort, {}, seed, where)
            except IsopruneError:  # dead, of another shape than before, and no plan to restore it by
                continue
            row |= trial.facts(numbers, found)
    verdict, sentences = words.verdict_with_reasons(numbers, layers, effort)
    diagnosis = Diagnosis(verdict, sentences, numbers, layers, effort, sigma)
    if repaired is None:
        return diagnosis
    return with_repairs(diagnosis, repaired, batches, seed=seed, **where)


def with_repairs(
    diagnosis: Diagnosis,
    repaired: Tried,
    batches: Batches,
    *,
    input: InputPick = None,
    output: OutputPick = None,
    memory: int | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Return the diagnosis with what each repair restores, measured as the network was.

    Args:
        repaired: Networks by the name of the repair that made them, or pairs of both, taken one at a time;
            in place of a network, the reason why there is none. A network that cannot be measured (NaN) is
            listed with that reason.
        batches: Those of the diagnosis; other arguments too.
    """
    inputs = _first(batches, diagnosis.effort.samples)
    where = {"input": input, "output": output, "memory": memory}
    numbers, sigma, refused = dict(diagnosis.numbers), dict(diagnosis.sigma), dict(diagnosis.refused)
    done = list(diagnosis.repairs)
    pairs: Any = repaired.items() if isinstance(repaired, Mapping) else repaired
    for name, network in pairs:
        if isinstance(network, str):
            refused[name] = network
            continue
        try:
            numbers |= _measured(name, network, inputs, diagnosis.effort, sigma, seed, where)
            done.append(name)
        except IsopruneError as error:
            refused[name] = str(error)
    new = [name for name in done if name not in diagnosis.repairs]
    sentences = diagnosis.sentences + tuple(words.restores(name, numbers) for name in new)
    return replace(
        diagnosis, sentences=sentences, numbers=numbers, sigma=sigma, repairs=tuple(done), refused=refused
    )


def _measured(
    name: str,
    network: nn.Module,
    inputs: Inputs,
    effort: Effort,
    sigma: dict[str, Tensor],
    seed: int,
    where: dict[str, Any],
) -> dict[str, float]:
    """Return the numbers of one network, by the name they go under; exact values are put into ``sigma``."""
    if effort.method == "exact":
        found = jacobian_singular_values(network, inputs, **where)
        sigma[name] = found.cpu()
        numbers = summary(found)
    else:
        generator = seeded(seed)
        try:
            estimate = estimate_jacobian_singular_values(network, inputs, generator=generator, **where)
        except NoSecondDerivative as error:
            raise IsopruneError(
                f"{error} Here: diagnose(..., budget=math.inf), or on the command line --exact."
            ) from error
        numbers = estimate.summary()
    return {f"{name}_jsv_{key}".lstrip("_"): value for key, value in numbers.items()}


def _first(batches: Batches, samples: int) -> Any:
    taken: list[Any] = []
    count = 0
    for inputs, _ in batches:
        taken.append(inputs)
        count += samples_in(inputs)
        if count >= samples:
            break
    if not taken:
        raise IsopruneError(
            "batches is empty: there is no input to measure on. Pass at least one (inputs, targets)."
        )
    return cut(joined(taken), 0, min(samples, count))


def _layer_rows(
    model: nn.Module, gains: list[LayerGain], before: list[LayerGain] | None
) -> list[dict[str, Any]]:
    """Return a row for each run; ``share`` is its part of the logarithms lost, each along its own path."""
    modules = dict(model.named_modules())
    earlier = {gain.name: gain for gain in before or []}
    rows: list[dict[str, Any]] = []
    for gain in gains:
        row: dict[str, Any] = {"name": gain.name, "kind": gain.kind}
        row |= {"forward_gain": gain.forward, "backward_gain": gain.backward}
        reference = 1.0
        if before is not None:
            reference = earlier[gain.name].backward if gain.name in earlier else 1.0
            row["dense_backward_gain"] = reference
        row["lost"] = math.log10(max(reference, 1e-30) / max(gain.backward, 1e-30))
        layer = modules.get(gain.name)
        weight = getattr(layer, "weight", None)
        if layer is not None and isinstance(weight, Tensor) and weight.ndim > 1:
            blocks = layer.groups if isinstance(layer, (*CONVOLUTIONS, *TRANSPOSED)) else 1
            filters = as_matrices(weight.detach(), layer, blocks)
            sigma = torch.cat([filter_spectrum(W) for W in filters])
            row |= {"filters": filters[..., 0].numel(), "sigma_mean": float(sigma.mean())}
            row |= {"sigma_max": float(sigma.max()), "sigma_min": float(sigma.min())}
            row["dead_filters"] = int((filters == 0).all(dim=-1).sum())
        rows.append(row)
    total = sum(max(row["lost"], 0.0) for row in rows)
    for row in rows:
        row["share"] = max(row["lost"], 0.0) / total if total > 0 else 0.0
    return rows
