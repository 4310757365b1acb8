"""The cell of its table that each run of a reproduction belongs to, from the keys of its config."""

from __future__ import annotations

from collections.abc import Callable

from isoprune.comparison.records import Flat
from isoprune.reproduction.arena import place_arena
from isoprune.reproduction.claims import Place, ratio_of
from isoprune.reproduction.forecasts.networks import place_forecast
from isoprune.reproduction.full_budget import place_full_budget
from isoprune.reproduction.repairs_arena import place_repairs_arena

_LARGE, _SMALL = "LR 1e-2", "LR 1e-3"
_PENALTIES = {"kernel_orthogonality": "L1 + KernOrth", "orthogonal_convolution": "L1 + OrthConv"}
_REPAIRS = {"none": "L1", "orthp": "L1 + OrthP", "scratch": "scratch"}


# The ratios of the stages' inner convolutions -> the speed-up that they were published with.
_SPEEDUPS: dict[tuple[float, ...], str] = {
    (0.6, 0.6, 0.6, 0.21): "2.31x",
    (0.74, 0.74, 0.6, 0.21): "2.56x",
    (0.68, 0.68, 0.68, 0.5): "3.06x",
}


def place_imagenet(flat: Flat) -> Place | None:
    ratios = [flat.get(f"prune.ratio.layer{i}.*") for i in (1, 2, 3, 4)]
    column = _SPEEDUPS.get(tuple(float(r) for r in ratios if r is not None)) or ratio_of(flat)
    row = "TPP" if flat.get("prune.train.penalty.name") == "tpp" else "L1"
    return Place(str(flat["model.name"]), row, column)


def place_jsv_vs_ratio(flat: Flat) -> Place | None:
    rows = {"none": "L1", "orthp": "L1 + OrthP"}
    row = rows.get(str(flat.get("repair.name", "none")))
    panel = f"{flat['model.name']} {flat.get('model.activation')}"
    return None if row is None else Place(panel, row, ratio_of(flat))


_BASE = {6: 6, 18: 6, 60: 6, 180: 6, 1: 1, 10: 1}  # epochs -> those of the shortest, in our sizes
_BASE_PAPER = {30: 30, 90: 30, 300: 30, 1515: 30, 60: 60, 120: 60, 180: 60, 240: 60}


def place_longer_small_lr(flat: Flat) -> Place | None:
    rows = {1e-2: "L1, LR 1e-2", 1e-3: "L1, LR 1e-3", 1e-4: "L1, LR 1e-4"}
    row, epochs = rows.get(flat["retrain.lr"]), flat["retrain.epochs"]
    if row is None:
        return None
    base = (_BASE_PAPER if flat["model.name"] == "resnet34" else _BASE).get(epochs)
    if base is None:
        return None
    panel = " ".join(str(w) for w in (flat["model.name"], flat.get("model.activation")) if w is not None)
    return Place(panel, row, f"{epochs / base:g} x")


def place_lr_effect(flat: Flat) -> Place | None:
    row = _REPAIRS.get(str(flat.get("repair.name", "none")))
    rates = {1e-2: _LARGE, 1e-3: _SMALL}
    column = rates.get(flat["retrain.lr"])
    if row is None or column is None:
        return None
    return Place(f"{flat['model.name']} {flat.get('model.activation')}", row, column)


def place_repair_table(flat: Flat) -> Place | None:
    rate = {1e-2: _LARGE, 1e-3: _SMALL}.get(flat["retrain.lr"])
    method = _method(flat)
    if rate is None or method is None:
        return None
    return Place(str(flat["model.name"]), f"{method}, {rate}", ratio_of(flat))


def _method(flat: Flat) -> str | None:
    if (penalty := flat.get("retrain.penalty.name")) is not None:
        return _PENALTIES.get(str(penalty))
    if flat.get("prune.train.epochs") is not None:
        penalty = flat.get("prune.train.penalty.name")
        return {"tpp": "TPP", "greg_1": "GReg-1", "greg_2": "GReg-2", None: "L1, trained on first"}.get(
            penalty
        )
    return _REPAIRS.get(str(flat.get("repair.name", "none")))


_RESIDUAL, _PLAIN = "residual network", "plain network"
_NETWORKS = {"resnet56": _RESIDUAL, "resnet_small": _RESIDUAL, "vgg19": _PLAIN, "lenet_5": _PLAIN}


def place_lr_schedules(flat: Flat) -> Place | None:
    panel, column = _NETWORKS.get(flat["model.name"]), ratio_of(flat)
    if panel is None:
        return None
    if flat.get("repair.name", "none") == "scratch":
        return Place(panel, "scratch, step", column)
    kind = {"step_decay": "step", "cosine": "cosine"}.get(flat["retrain.schedule.name"])
    rate = {1e-2: "1e-2", 1e-3: "1e-3"}.get(flat["retrain.lr"])
    return None if kind is None or rate is None else Place(panel, f"L1, {kind} {rate}", column)


_BY_RATE = {
    1e-2: "pruned at 1/4, LR 1e-2",
    1e-3: "pruned at 1/2, LR 1e-3",
    1e-4: "pruned at 3/4, LR 1e-4",
}


def place_value_of_pruning(flat: Flat) -> Place | None:
    panel, column = str(flat["model.name"]), ratio_of(flat)
    if flat.get("repair.name", "none") == "scratch":
        return Place(panel, "scratch", column)
    if flat["retrain.lr"] != 0.1:
        row = _BY_RATE.get(flat["retrain.lr"])
    else:
        # Equal epochs: a quarter of them before pruning. Fewer: equal multiply-adds.
        quarter = flat.get("dense.steps") is None and 3 * flat["dense.epochs"] >= flat["retrain.epochs"]
        row = f"pruned at 1/4{'' if quarter else ' of its share of FLOPs'}, LR 1e-1"
    return None if row is None else Place(panel, row, column)


PLACES: dict[str, Callable[[Flat], Place | None]] = {
    "jsv-vs-ratio": place_jsv_vs_ratio,
    "lr-effect": place_lr_effect,
    "longer-small-lr": place_longer_small_lr,
    "repair-table": place_repair_table,
    "lr-schedules": place_lr_schedules,
    "value-of-pruning": place_value_of_pruning,
    "imagenet": place_imagenet,
    "arena": place_arena,
    "repairs-arena": place_repairs_arena,
    "forecast": place_forecast,
    "full-budget": place_full_budget,
}
