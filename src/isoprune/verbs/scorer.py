"""How units are scored: the criterion, and what it may look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.graph.cloning import copied
from isoprune.methods.criteria import CRITERIA, scores_of
from isoprune.pruning.grains import Grain
from isoprune.pruning.plan import numbers_kept
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.signals.samples import batches_of
from isoprune.types import Plan, Scores, Task, Units, UpdatingScores
from isoprune.types.method import Method, method_of
from isoprune.types.seeded import seeded
from isoprune.verbs.repair import repair


def default_criterion(grain: Grain, retrain_budget: int | None) -> str:
    """Return the criterion where none is named: the best known for the budget, else the plainest."""
    knows = grain.name in method_of(CRITERIA["reconstruction"]).grains
    return "reconstruction" if knows and retrain_budget is not None else "l1_norm"


@dataclass
class Scorer:
    """How units are scored: the criterion and what it may look at."""

    criterion: str | Callable[..., Scores]
    batches: Iterable[Any] | None
    task: Task
    seed: int
    last_scores: Scores | None = field(init=False, default=None)  # of the last network that was scored

    def __post_init__(self) -> None:
        if self.batches is not None:
            self.batches = batches_of(self.batches)  # a repair looks at them once more

    @cached_property
    def repair(self) -> str:
        """The repair that the criterion's choice is made for, and that must follow it; "": none."""
        return self._facts.repair

    @cached_property
    def _facts(self) -> Method:
        return Method("own") if self._function is None else method_of(self._function)

    @cached_property
    def _function(self) -> Callable[..., Scores] | None:
        return CRITERIA.get(self.criterion) if isinstance(self.criterion, str) else self.criterion

    def per(self, units: tuple[Units, ...]) -> dict[str, float] | None:
        """Return what scores of each group are divided by where all compete; None: their mean."""
        return dict.fromkeys((u.name for u in units), 1.0) if self._facts.comparable else None

    def repaired(self, made: Pruned, retrain_budget: int | None) -> Pruned:
        """Return what was pruned after the criterion's own repair, or after "auto" for a budget."""
        how: dict[str, Any] = {"batches": self.batches, "task": self.task, "seed": self.seed}
        if retrain_budget is not None and made.plan:
            return repair(made, "auto", retrain_budget=retrain_budget, **how)
        return repair(made, self.repair, **how) if self.repair and made.plan else made

    def of(self, model: nn.Module, example_inputs: Any) -> Callable[..., Scores]:
        """Return what scores units of a network; its data is gone through once for all calls."""
        signals = Signals(model, self.batches, self.task, example=example_inputs)

        def scores(units: tuple[Units, ...], **options: Mapping[str, int]) -> Scores:
            generator = seeded(self.seed)
            self.last_scores = scores_of(self.criterion, signals, units, generator=generator, **options)
            return self.last_scores

        return scores

    def updated(self, model: nn.Module, masks: Callable[[], Mapping[str, Tensor]]) -> nn.Module:
        """Return the network that was scored last with the weights that its criterion brings, if it does.

        Weights that something computes (a parametrization) stay as they are.

        Args:
            masks: What gives what stays of each tensor.
        """
        if not isinstance(self.last_scores, UpdatingScores):
            return model
        new = self.last_scores.update(masks())
        model = copied(model)
        names = dict(model.named_parameters())
        with torch.no_grad():
            for name in names.keys() & new.keys():
                names[name].copy_(new[name])
        return model

    def plan(
        self,
        scores: Callable[..., Scores],
        units: tuple[Units, ...],
        plan_by: Callable[[Scores], Plan],
        again: Callable[[Scores, Plan], Plan],
        *,
        numbers_by_scores: bool,
    ) -> Plan:
        """Return the plan by these scores.

        A criterion that takes ``keep`` chooses for how many are to stay: ``plan_by`` then says how many
        (by scores, if ``numbers_by_scores``), and ``again`` which.
        """
        if self._function is None or "keep" not in signature(self._function).parameters:
            return plan_by(scores(units))
        first = plan_by(scores(units) if numbers_by_scores else _equal(units))
        return again(scores(units, keep=numbers_kept(units, first)), first) if first else first


def _equal(units: tuple[Units, ...]) -> Scores:
    return {u.name: torch.ones(u.shape, dtype=torch.float64) for u in units}
