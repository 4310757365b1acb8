"""Cross-checks: is the order of two methods the same under every retraining they both had?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isoprune.comparison.difference import Difference
from isoprune.comparison.records import under


@dataclass(frozen=True)
class Cross:
    """Two methods under several retrainings, all else equal.

    Attributes:
        where: What else tells this pair from the others.
        signs: Retraining, in words -> the sign of other minus base (-1, 0, 1), and whether it is shown.
        order: "same": one sign, shown under every retraining. "turned": shown both ways, so the ranking is
            the retraining's. "open": these seeds do not tell.
    """

    base: str
    other: str
    where: Mapping[str, str]
    signs: Mapping[str, tuple[int, bool]]
    order: str


def crosses_of(differences: Sequence[Difference]) -> tuple[Cross, ...]:
    """Return a cross-check for each two methods that were compared under two retrainings or more."""
    found: dict[tuple[str, str, tuple[tuple[str, str], ...]], dict[str, tuple[int, bool]]] = {}
    for difference in differences:
        retraining = {key: v for key, v in difference.where.items() if under(key, "retrain")}
        rest = tuple((key, v) for key, v in difference.where.items() if key not in retraining)
        words = ", ".join(f"{key} = {v}" for key, v in retraining.items())
        mean = difference.difference.mean
        sign = (mean > 0) - (mean < 0)
        found.setdefault((difference.base, difference.other, rest), {})[words] = sign, difference.shown()
    return tuple(
        Cross(base, other, dict(rest), signs, _order(list(signs.values())))
        for (base, other, rest), signs in found.items()
        if len(signs) > 1
    )


def _order(signs: Sequence[tuple[int, bool]]) -> str:
    shown = {sign for sign, sure in signs if sure}
    if len(shown) > 1:
        return "turned"
    return "same" if len(shown) == 1 and all(sure for _, sure in signs) else "open"
