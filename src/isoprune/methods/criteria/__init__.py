"""Score channels: one method a file, `(model, graph, batches, *, generator, **options) -> Scores`."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from torch import Generator, nn

from isoprune.graph import Graph
from isoprune.methods.criteria.fisher import fisher
from isoprune.methods.criteria.l1_norm import l1_norm
from isoprune.methods.criteria.l2_norm import l2_norm
from isoprune.methods.criteria.random_scores import random
from isoprune.methods.criteria.taylor import taylor
from isoprune.types import Batches, IsopruneError, Scores

CRITERIA: dict[str, Callable[..., Scores]] = {
    f.__name__: f for f in (l1_norm, l2_norm, taylor, fisher, random)
}


def scores_of(
    criterion: str | Callable[..., Scores],
    model: nn.Module,
    graph: Graph,
    batches: Batches | None,
    *,
    generator: Generator,
    **options: Any,
) -> Scores:
    """Return the scores of a criterion given by its name or as a function.

    Raises:
        IsopruneError: If the name is unknown.
    """
    if isinstance(criterion, str):
        if criterion not in CRITERIA:
            close = difflib.get_close_matches(criterion, CRITERIA, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise IsopruneError(f"Unknown criterion '{criterion}'.{hint} Known: {', '.join(CRITERIA)}.")
        criterion = CRITERIA[criterion]
    return criterion(model, graph, batches, generator=generator, **options)


__all__ = ["CRITERIA", "fisher", "l1_norm", "l2_norm", "random", "scores_of", "taylor"]
