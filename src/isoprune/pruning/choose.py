"""Which channels stay: the highest scores within the constraints of the graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from isoprune.graph import Constraint, Graph
from isoprune.types import IsopruneError, Scores


def keep_highest(scores: Tensor, number: int) -> np.ndarray:
    """Return the positions of the ``number`` highest scores, in order; of equals the first stay."""
    order = torch.argsort(scores.double(), descending=True, stable=True)
    return np.sort(order[:number].numpy())


def choose(
    graph: Graph,
    scores: Scores,
    keep: Mapping[str, int],
    *,
    round_to: int = 1,
    floor: int = 1,
    links: Sequence[Constraint] = (),
) -> dict[str, tuple[int, ...]]:
    """Return the channels that go, per group: at most ``keep`` stay, ``floor`` at least, as many as can.

    Groups that no constraint touches keep their highest scores. Those that must balance (heads x width,
    equal chunks, grouped convolutions) are solved together: row by row where rows do not overlap, else
    as an integer program (HiGHS).
    """
    removed: dict[str, tuple[int, ...]] = {}
    owner = _owners(graph)
    for names, mine in _clusters(graph, links, owner):
        kept = (
            _free(graph, scores, keep, names[0], round_to)
            if not mine
            else _rowwise(graph, scores, keep, names, mine, owner, round_to, floor)
        )
        if kept is None:
            kept = _solve(graph, scores, keep, names, mine, round_to, floor)
        for name in names:
            channels = graph.channels[name]
            gone = np.flatnonzero(~np.isin(channels, kept[name]))
            removed[name] = tuple(gone.tolist())
    return {g.name: removed[g.name] for g in graph.groups if removed[g.name]}


def _free(
    graph: Graph, scores: Scores, keep: Mapping[str, int], name: str, round_to: int
) -> dict[str, np.ndarray]:
    channels = graph.channels[name]
    number = _rounded(keep[name], len(channels), round_to)
    return {name: channels[keep_highest(scores[name], number)]}


def _rounded(number: int, size: int, to: int) -> int:
    """Round up to a multiple: hardware likes it, and no more goes than was asked for."""
    return min(-(-number // to) * to, size)


def _owners(graph: Graph) -> dict[int, str]:
    return {c: g.name for g in graph.groups for c in graph.channels[g.name].tolist()}


def clusters(graph: Graph, links: Sequence[Constraint] = ()) -> list[list[str]]:
    """Return the names of the groups that constraints tie together; most stand alone."""
    return [names for names, _ in _clusters(graph, links, _owners(graph))]


def _clusters(
    graph: Graph, links: Sequence[Constraint], owner: Mapping[int, str]
) -> list[tuple[list[str], list[Constraint]]]:
    place = {g.name: i for i, g in enumerate(graph.groups)}
    constraints = (*graph.constraints, *links)
    involved = [[place[owner[x]] for s in c.sets for x in s.tolist() if x in owner] for c in constraints]
    cluster = _tied(len(place), involved)
    gathered: dict[int, tuple[list[str], list[Constraint]]] = {}
    for name, i in place.items():
        gathered.setdefault(cluster[i], ([], []))[0].append(name)
    for c, places in zip(constraints, involved, strict=True):
        if places:
            gathered[cluster[places[0]]][1].append(c)
    return list(gathered.values())


def _tied(number: int, sets: Sequence[Sequence[int]]) -> list[int]:
    """Return the cluster of each of ``number`` things; those of a set are in one."""
    edges = np.array([(one[0], i) for one in sets for i in one], dtype=np.int64).reshape(-1, 2).T
    ties = coo_array((np.ones(edges.shape[1]), (edges[0], edges[1])), shape=(number, number))
    return connected_components(ties, directed=False)[1].tolist()


def _rowwise(
    graph: Graph,
    scores: Scores,
    keep: Mapping[str, int],
    names: Sequence[str],
    constraints: Sequence[Constraint],
    owner: Mapping[int, str],
    round_to: int,
    floor: int,
) -> dict[str, np.ndarray] | None:
    """Return the channels kept when all rows are disjoint and each is of one group; else None."""
    rows: dict[bytes, np.ndarray] = {}
    keys = [[np.sort(row).tobytes() for row in c.sets] for c in constraints]
    for c, own in zip(constraints, keys, strict=True):
        for key, row in zip(own, c.sets, strict=True):
            rows.setdefault(key, row)
    place = {key: i for i, key in enumerate(rows)}
    tied = _tied(len(rows), [[place[key] for key in own] for own in keys])
    members = np.concatenate(list(rows.values()))
    if len(np.unique(members)) < len(members):
        return None
    owners = [{owner.get(x) for x in row.tolist()} for row in rows.values()]
    if any(len(of) > 1 or None in of for of in owners):
        return None
    value = torch.zeros(len(graph.component), dtype=torch.float64)
    for n in names:
        value[graph.channels[n]] = scores[n].double()
    number: dict[int, int] = {}
    least: dict[int, int] = {}
    for key, row in zip(tied, rows.values(), strict=True):
        name = owner[int(row[0])]
        size = len(graph.channels[name])
        number[key] = min(number.get(key, len(row)), len(row) * keep[name] // size)
        least[key] = max(least.get(key, 1), -(-len(row) * min(floor, size) // size))
    number = {key: max(n, least[key]) for key, n in number.items()}
    for key, row in zip(tied, rows.values(), strict=True):
        if round_to > 1 and len(row) >= round_to:
            number[key] = _rounded(number[key], len(row), round_to)
    kept: dict[str, list[int]] = {n: [] for n in names}
    for key, row in zip(tied, rows.values(), strict=True):
        best = keep_highest(value[row], number[key])
        kept[owner[int(row[0])]] += row[best].tolist()
    for n in names:
        loose = graph.channels[n][~np.isin(graph.channels[n], members)]
        if len(loose):
            share = max(0, min(len(loose), keep[n] - len(kept[n])))
            best = keep_highest(value[loose], share)
            kept[n] += loose[best].tolist()
    return {n: np.array(sorted(k), dtype=np.int64) for n, k in kept.items()}


def _solve(
    graph: Graph,
    scores: Scores,
    keep: Mapping[str, int],
    names: Sequence[str],
    constraints: Sequence[Constraint],
    round_to: int,
    floor: int,
) -> dict[str, np.ndarray]:
    """Return the channels kept by an exact integer program: most channels, then highest scores."""
    channels = np.concatenate([graph.channels[n] for n in names])
    place = {int(c): i for i, c in enumerate(channels)}
    value = np.concatenate([_ranks(scores[n]) for n in names])
    n, m = len(channels), len(constraints)
    entries: list[tuple[int, int, float]] = []
    held: list[int] = []  # per line, the channels that stay in any case
    for number, constraint in enumerate(constraints):
        whole = all(len(s) % round_to == 0 and all(int(x) in place for x in s) for s in constraint.sets)
        step = round_to if whole else 1
        for row in constraint.sets:
            line = len(held)
            for x, times in Counter(int(x) for x in row).items():
                if x in place:
                    entries.append((line, place[x], times))
            stuck = sum(int(x) not in place for x in row)
            entries.append((line, n + number, -step))
            held.append(stuck)
    lines, columns, values = zip(*entries, strict=True)
    matrix = coo_array((values, (lines, columns)), shape=(len(held), n + m)).tocsr()
    balanced = _between(matrix, -np.array(held), -np.array(held))
    # Ties cut a layer into groups of unlike channels, which cannot each meet the ratio: all together do.
    total = np.concatenate([np.ones(n), np.zeros(m)])[None]
    sizes = [len(graph.channels[name]) for name in names]
    of_group = np.pad(np.repeat(np.eye(len(names)), sizes, axis=1), ((0, 0), (0, m)))
    some_of_each = _between(of_group, np.minimum(sizes, floor), np.array(sizes))
    most = sum(_rounded(keep[name], len(graph.channels[name]), round_to) for name in names)
    lowest, highest = np.repeat([0.0, 1.0], [n, m]), np.repeat([1.0, np.inf], [n, m])
    for sign, few, many in ((-1.0, 1, most), (1.0, most, n)):  # at most what was asked, else the least above
        found = milp(
            np.concatenate([sign * (1 - sign * 0.5 * value), np.zeros(m)]),
            constraints=[balanced, some_of_each, _between(total, few, many)],
            integrality=np.ones(n + m),
            bounds=Bounds(lowest, highest),  # pyright: ignore[reportArgumentType]  arrays are meant
            options={"mip_rel_gap": 1e-3, "node_limit": 2000},
        )
        if found.x is not None:
            kept = channels[found.x[:n] > 0.5]
            return {name: kept[np.isin(kept, graph.channels[name])] for name in names}
    raise IsopruneError(
        f"No plan keeps the channels of {', '.join(names[:3])} in balance ({constraints[0].where}). "
        "Leave these groups out of the ratio by name patterns."
    )


def _between(matrix: Any, low: Any, high: Any) -> LinearConstraint:
    return LinearConstraint(matrix, low, high)


def _ranks(scores: Tensor) -> np.ndarray:
    """Return scores as ranks in [0, 1]: comparable between groups, and safe in an integer program."""
    order = torch.argsort(torch.argsort(scores.double(), stable=True), stable=True).double()
    return (order / max(len(scores) - 1, 1)).numpy()
