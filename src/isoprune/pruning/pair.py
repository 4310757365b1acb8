"""Compares two networks on a trial: what the dense one should give, how far the small one is from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.graph import Graph
from isoprune.graph.cloning import runnable_copy, tensor_names
from isoprune.graph.draws import Draw, Noting, Repeating, seeded_draws
from isoprune.graph.fixed_kernels import with_fixed_kernels
from isoprune.graph.inputs import copied_inputs
from isoprune.graph.reads import Reads, replayed_reads
from isoprune.pruning.discrepancy import Discrepancy, WrongNetwork, discrepancy
from isoprune.pruning.float64 import in_float64, widened
from isoprune.pruning.trials import Trial, change_weights_, unround_
from isoprune.types import IsopruneError
from isoprune.types.seeded import seeded

# Sums in another order differ by some 1e-16 a layer in float64, by 1e-6 in float32.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@dataclass(frozen=True)
class Compared:
    """How far two networks are apart on a trial."""

    trial: str
    discrepancy: Discrepancy
    statistics: set[str]
    change: float


@dataclass(frozen=True)
class Wanted:
    """What the dense network should give, and where statistics lost channels."""

    output: Any
    statistics: set[str]
    change: float = 0.0  # what norms over weights that lost channels change
    draws: Sequence[Draw | None] = ()
    seen: Sequence[Tensor] = ()  # what the forward read answers from


# (a context, and what is done to the copy first) -> the output of a fresh copy of the dense network within it
Run = Callable[..., Any]
Reference = Callable[[Run, Trial], Wanted]


@dataclass(frozen=True)
class NetworkPair:
    """Two networks to compare on trials; only copies of them run."""

    model: nn.Module
    small: nn.Module
    graph: Graph
    kept: Tensor | None
    reference: Reference
    factors: Mapping[str, Tensor]
    exact: bool = True  # in float64, not in the type of the weights
    names: Mapping[str, str] = field(default_factory=dict)  # of tensors of ``small``: in ``model``

    @property
    def _kinds(self) -> set[torch.dtype]:
        return {t.dtype for _, t in tensor_names(self.model).values()} & TOLERANCE.keys()

    @property
    def is_single(self) -> bool:
        return self._kinds == {torch.float32}

    @property
    def tolerance(self) -> float:
        if self.exact:
            return TOLERANCE[torch.float64]
        return max((TOLERANCE[kind] for kind in self._kinds), default=TOLERANCE[torch.float32])

    def usable(self, trial: Trial) -> tuple[NetworkPair, Wanted] | None:
        """Return this and what the dense network gives on drawn inputs; None if it does not take them."""
        try:
            want = self.want(trial)
            discrepancy(want.output, want.output)
        except Exception:  # whatever a forward raises on what it was not made for: nothing can be said then
            return None
        return self, want

    def want(self, trial: Trial, noise: int | None = None) -> Wanted:
        """Return what the dense network should give; with ``noise``, its weights off by rounding."""
        notes: list[tuple[Noting, Reads]] = []

        def run(
            around: AbstractContextManager[Any],
            prepare: Callable[[nn.Module], None] = lambda _: None,
            *,
            noted: bool = True,
        ) -> Any:
            dense = self._copy(self.model, trial, None)
            if noise is not None:
                _disturb_(dense, self.tolerance / 100, noise)
            prepare(dense)
            draws, answers = Noting(trial.way.nodes), trial.way.answers()
            if noted:
                notes.append((draws, answers))
            with self._setting(draws), around, replayed_reads(answers):
                return self._run(dense, trial)

        try:
            want = self.reference(run, trial)
        except IsopruneError:
            raise
        except Exception as problem:
            line = str(problem).strip().partition("\n")[0]
            raise IsopruneError(
                f"The forward of {type(self.model).__name__} does not run on {trial.name}: "
                f"{type(problem).__name__}: {line}. Give example_inputs with which model(...) runs."
            ) from problem
        draws, answers = notes[-1]
        return replace(want, draws=draws.notes, seen=answers.seen)

    def compared(self, trial: Trial, want: Wanted) -> Compared:
        """Return how far the small network is from ``want`` on a trial.

        Raises:
            WrongNetwork: If that is more than rounding, or if it does not run.
        """
        everything = torch.ones(trial.graph.ledger.size, dtype=torch.bool)
        kept = everything if self.kept is None else trial.kept_ids(self.graph, self.kept)
        draws, answers = Repeating(list(want.draws), kept), trial.way.answers()
        try:
            little = self._copy(self.small, trial, self.kept)
            with self._setting(draws), replayed_reads(answers):
                got = self._run(little, trial)
        except Exception as problem:
            raise WrongNetwork(
                f"The smaller network does not run: {type(problem).__name__}: {problem}. It is not handed "
                f"out (tried on {trial.name}); `prune` leaves out what does not fit."
            ) from problem
        # What is read of channels that go is of another size, and goes on to what is compared.
        both = enumerate(zip(want.seen, answers.seen, strict=False))
        read = [i for i, (a, b) in both if a.shape == b.shape and bool((a.isfinite() & b.isfinite()).all())]
        got, wanted = _with(got, answers.seen, read), _with(want.output, want.seen, read)
        found = discrepancy(wanted, got)
        if found.relative > self.tolerance:
            others = [self.want(trial, noise) for noise in (1, 2)]
            again = discrepancy(wanted, got, *(_with(o.output, o.seen, read) for o in others))
            if again.relative > self.tolerance:
                raise WrongNetwork(
                    f"The smaller network differs from the dense one by {again.error:.2g} on {trial.name}, "
                    f"in {again.where}, whose values there are about {again.scale:.2g}. It is not handed "
                    "out. Please report the model's class and the plan."
                )
            found = again
        return Compared(
            f"{trial.name}{' in float64' if self.exact else ''}", found, want.statistics, want.change
        )

    def _copy(self, model: nn.Module, trial: Trial, kept: Tensor | None) -> nn.Module:
        made = runnable_copy(model, widened if self.exact else Tensor.clone)
        if kept is None and self.kept is not None and self.exact:
            unround_(made, self.small, self.graph, self.kept, self.factors)
        if trial.seed is not None:
            names = self.names if model is self.small else {}
            change_weights_(made, self.graph, kept, self.factors, seed=trial.seed, names=names)
        return made

    @contextmanager
    def _setting(self, draws: Noting | Repeating) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(with_fixed_kernels())
            if self.exact:
                stack.enter_context(in_float64())
            stack.enter_context(seeded_draws(draws))
            yield

    def _run(self, model: nn.Module, trial: Trial) -> Any:
        inputs = copied_inputs(trial.inputs, widened if self.exact else Tensor.clone)
        return trial.way.entry.run(model, inputs)


def _with(output: Any, seen: Sequence[Tensor], read: Sequence[int]) -> Any:
    """Return an output and what a forward read answers from, if anything."""
    return (output, [seen[i] for i in read]) if read else output


def _disturb_(model: nn.Module, size: float, seed: int) -> None:
    """Change weights by less than what matters, to see how far rounding carries."""
    generator = seeded(seed)
    for _, tensor in tensor_names(model).values():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            with torch.no_grad():
                tensor.mul_((1 + size * noise).to(tensor.device, tensor.dtype))
