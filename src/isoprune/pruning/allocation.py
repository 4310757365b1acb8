"""Ratio -> how many channels each group keeps."""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Mapping, Sequence

import torch

from isoprune.graph import Graph
from isoprune.types import IsopruneError, Scores, Units
from isoprune.types.errors import check_known
from isoprune.types.units import layer_of

Number = float | int
CAP = 0.9  # of a group's channels, where all compete
Ratio = Number | Mapping[str, Number]


def removed_of(size: int, ratio: Number) -> int:
    """Return how many of ``size`` channels a ratio removes: ceil(ratio * size), at most size - 1."""
    return min(math.ceil(ratio * size - 1e-9), size - 1)


def check_ratio(ratio: Number, what: str = "ratio") -> None:
    """Raise unless the ratio is the fraction that goes, in [0, 1)."""
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio < 1:
        raise IsopruneError(
            f"{what} is {ratio!r}, not a number in [0, 1). It is the fraction of filters removed: "
            "0.5 removes half."
        )


def producers(group: Units) -> list[str]:
    """Return the modules whose filters make the group's channels."""
    made = [layer_of(m.tensor) for m in group.members if m.role == "out"]
    return list(dict.fromkeys(made))


def in_scope(groups: Sequence[Units], scope: str) -> list[Units]:
    """Return all groups, or (internal) those that one layer makes: no residual sums, as in the papers."""
    check_known(scope, ("all", "internal"), "scope")
    if scope == "all":
        return list(groups)
    tensors = [{m.tensor for m in g.members if m.role == "out"} for g in groups]
    weights = [{t for t in made if not t.endswith("bias")} for made in tensors]
    return [g for g, w in zip(groups, weights, strict=True) if len(w) == 1]


def ratios_of(graph: Graph, groups: Sequence[Units], ratio: Ratio) -> dict[str, Number]:
    """Return the ratio of every group: one for all, or by name patterns, of which the last match wins.

    A pattern such as ``"layer[1-3].*.conv1"`` is matched against the group's name and its producers' names;
    groups without a match lose nothing. A ratio of 0 may name anything that the network has.

    Raises:
        IsopruneError: If a pattern matches nothing that could go.
    """
    if not isinstance(ratio, Mapping):
        check_ratio(ratio)
        return {g.name: ratio for g in groups}
    ratios: dict[str, Number] = {g.name: 0.0 for g in groups}
    for pattern, one in ratio.items():
        if not isinstance(pattern, str):
            raise IsopruneError(
                f"ratio has the key {str(pattern)[:60]!r}, a {type(pattern).__name__}. Its keys are patterns "
                'of names, such as "layer1.*" or "*".'
            )
        check_ratio(one, f'ratio of "{pattern}"')
        matches = re.compile(fnmatch.translate(pattern)).match
        found = [g for g in groups if any(matches(name) for name in (g.name, *producers(g)))]
        for g in found:
            ratios[g.name] = one
        elsewhere = [] if found else [name for name in _places(graph) if matches(name)]
        if elsewhere and one:
            reasons = [f.reason for f in graph.frozen if any(f.tensor.startswith(n) for n in elsewhere)]
            raise IsopruneError(
                f'The pattern "{pattern}" matches {elsewhere[0]}, which makes no channels that could go'
                + (f": {reasons[0]}" if reasons else "")
                + f'. Leave it out, or give "{pattern}" the ratio 0.'
            )
        if not found and not elsewhere:
            close = ", ".join(g.name for g in groups[:4])
            raise IsopruneError(
                f'The pattern "{pattern}" matches no group. Groups are named after the layers that make '
                f"their channels, such as {close}; `isoprune.trace(model, example_inputs).groups` lists all."
            )
    return ratios


def _places(graph: Graph) -> list[str]:
    """Return the names of all tensors of a network, and of the modules that they lie in."""
    names: dict[str, None] = {}
    for name in (*graph.recording.names.values(), *(node.module for node in graph.nodes)):
        parts = name.split(".")
        names.update(dict.fromkeys(".".join(parts[: i + 1]) for i in range(len(parts))))
    return list(names)


def global_ranking(
    groups: Sequence[Units],
    scores: Scores,
    ratio: Number,
    *,
    cap: Number = CAP,
    per: Mapping[str, float] | None = None,
) -> dict[str, int]:
    """Return what groups keep when all channels compete, each score divided by its group's number in ``per``.

    None: by the mean score of its group.

    No group loses more than ``cap`` of its channels, and none its last one: without that floor, global
    ranking can empty a layer.
    """
    check_ratio(ratio)
    check_ratio(cap, "cap")
    relative = {}
    for g in groups:
        score = scores[g.name].double()
        relative[g.name] = score / (score.mean().clamp_min(1e-300) if per is None else per[g.name])
    least = {g.name: g.size - removed_of(g.size, cap) for g in groups}
    # The best `least` channels of each group do not compete, so a threshold cannot take them.
    contested = []
    for g in groups:
        lowest = relative[g.name].sort().values[: g.size - least[g.name]]
        contested += [(float(v), g.name) for v in lowest]
    total = sum(g.size for g in groups)
    goes = sorted(contested)[: removed_of(total, ratio)]
    keep = {g.name: g.size for g in groups}
    for _, name in goes:
        keep[name] -= 1
    return keep


def check_scores(groups: Sequence[Units], scores: Scores) -> None:
    """Raise unless every unit has one finite score."""
    for g in groups:
        s = scores.get(g.name)
        if s is None or tuple(s.shape) != g.shape:
            came = "none" if s is None else f"shape {tuple(s.shape)}"
            raise IsopruneError(
                f"Group {g.name} has {g.size} {g.grain}s but scores of {came}: score every {g.grain}. What "
                f'a criterion cannot score is left out by a name pattern, ratio={{"*": ..., "{g.name}": 0}}, '
                'or with allocation="global", where the others compete.'
            )
        if not torch.isfinite(s).all():
            raise IsopruneError(
                f"The scores of group {g.name} hold NaN or infinity. Training may have diverged: "
                "lower the learning rate, or prune an earlier checkpoint."
            )


def check_some_score(name: str, scores: torch.Tensor) -> None:
    """Raise if all scores of units of which some are to go are zero: then nothing says which ones.

    Raises:
        IsopruneError: Naming the units.
    """
    if scores.numel() and not bool((scores != 0).any()):
        raise IsopruneError(
            f"All {scores.numel()} scores of {name} are zero, so nothing says which of its units go. If the "
            "criterion looks at data, the loss does not depend on them: give the loss of your task, such as "
            "loss=torch.nn.BCEWithLogitsLoss(). If its weights are zero, leave it out by a name pattern: "
            f'ratio={{"*": ..., "{name}": 0}}.'
        )
