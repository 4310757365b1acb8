"""Pruning within another library's training loop: which round is due, and the masks on its network."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.graph import trace
from isoprune.methods.cadences import CADENCES, of_what_is_left
from isoprune.pruning import Pruned
from isoprune.pruning.grains import read_grain, units_of
from isoprune.pruning.mask import Mask, harden, harden_, mask_, masks_of
from isoprune.pruning.masking import mask_by
from isoprune.types import CLASSIFICATION, IsopruneError, Plan, Scores, Task
from isoprune.types.errors import pick
from isoprune.types.network import device_of
from isoprune.types.task import to_device
from isoprune.verbs import prune, rewind


@dataclass(eq=False)
class Rounds:
    """Units are held at zero from epoch ``begin`` on, more of them in every round, to the end of a training.

    The optimizer keeps its parameters and their state: masks are put on the network that trains, and taken
    off when training ends; the zeros stay. While it trains, its state dict has the names and shapes that it
    has without masks, so checkpoints load anywhere. Two copies of the network are kept for the proof.

    Attributes:
        ratio: Fraction of all units that has gone after the last round. A grain n:m says it itself.
        begin: The epoch, from 0, before which the first round prunes.
        rounds: How many rounds.
        every: Epochs from one round to the next.
        cadence: How the ratio grows over the rounds: a name in `isoprune methods cadence`.
        grain: What goes as one, see `isoprune.prune`; channels are held at zero, and `isoprune.shrink`
            removes them afterwards.
        example_inputs: What the network's forward takes.
        criterion: With ``batches``, ``task``, ``allocation``, ``floor`` and ``seed`` as in `isoprune.prune`.
            Where several processes train, all must see the same ``batches``.
        pruned: What came of it: the network under its masks, with plan, costs and proof. None before the
            first round.

    Raises:
        IsopruneError: For numbers that name no round, or a ratio that is missing or not wanted.
    """

    ratio: float | None = None
    begin: int = 0
    rounds: int = 1
    every: int = 1
    cadence: str = "by_cycle"
    grain: str = "weight"
    example_inputs: Any = None
    criterion: str | Callable[..., Scores] | None = None
    batches: Iterable[Any] | None = None
    task: Task = CLASSIFICATION
    allocation: str = "uniform"
    floor: int = 1
    seed: int = 0
    pruned: Pruned | None = field(init=False, default=None)
    done: int = field(init=False, default=0)
    _hooks: list[Any] = field(init=False, default_factory=list, repr=False)
    _resumed: Plan | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        if self.begin < 0 or self.every < 1:
            raise IsopruneError(
                f"begin is {self.begin}, every is {self.every}. Give the epoch of the first round, from 0, "
                "and the epochs from one round to the next, 1 or more."
            )
        if (self.ratio is None) != (read_grain(self.grain).name == "n:m"):
            wanted = "ratio= is missing" if self.ratio is None else f"{self.grain} says itself how much goes"
            raise IsopruneError(f"{wanted}. Give ratio=0.5, or a grain such as '2:4' without a ratio.")
        if self.ratio is None and self.rounds != 1:
            raise IsopruneError(f"{self.grain} goes in one round. Leave rounds= out.")
        self._ratios = pick(CADENCES, self.cadence, "cadence")(rounds=self.rounds, ratio=self.ratio or 0.0)

    def due(self, epoch: int) -> int:
        """Return how many rounds are over once an epoch (from 0) begins."""
        return min(max((epoch - self.begin) // self.every + 1, 0), self.rounds)

    def start_(self, network: nn.Module, epochs: int | None) -> None:
        """Begin a training of so many epochs (None: not known), or go on with one.

        Raises:
            IsopruneError: If it ends before the last round.
        """
        if epochs is not None and self.due(epochs - 1) < self.rounds:
            last = self.begin + (self.rounds - 1) * self.every
            raise IsopruneError(
                f"Round {self.rounds} of {self.rounds} is before epoch {last} (from 0), and training ends "
                f"after {epochs}. Lower begin, every or rounds, or train longer."
            )
        if self._resumed is not None:
            plan, self._resumed = self._resumed, None
            dense = copy.deepcopy(network).eval()
            inputs = self._inputs(network)
            graph = trace(dense, inputs)
            self.pruned = mask_by(dense, inputs, graph, plan, units_of(graph, plan.grain))
        if self.pruned is not None:
            self._hold_(network, masks_of(self.pruned.model))

    def advance_(self, network: nn.Module, epoch: int) -> None:
        """Prune as often as is due before an epoch (from 0)."""
        while self.done < self.due(epoch):
            ratio = None if self.ratio is None else of_what_is_left(self._ratios, self.done + 1)
            now = copy.deepcopy(network).eval() if self.pruned is None else self._as_it_is(network)
            self.pruned = prune(
                now,
                self._inputs(network),
                ratio,
                criterion=self.criterion,
                grain=self.grain,
                mask=read_grain(self.grain).whole,
                batches=self.batches,
                task=self.task,
                allocation=self.allocation,
                floor=self.floor,
                seed=self.seed,
            )
            self.done += 1
            self._release_(network)
            network.load_state_dict(harden(self.pruned.model).state_dict())  # a criterion may bring weights
            self._hold_(network, masks_of(self.pruned.model))

    def end_(self, network: nn.Module) -> None:
        """Take the masks off; ``pruned`` has the network as it is now."""
        if self.done < self.rounds:
            warnings.warn(
                f"{self.done} of {self.rounds} rounds were due before training ended.", stacklevel=2
            )
        if self.pruned is not None:
            self.pruned = self._as_it_is(network)
            self._release_(network)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what a checkpoint must hold beside the weights: bools by units, and plain JSON."""
        plan = Plan() if self.pruned is None else self.pruned.plan
        facts = {"done": self.done, "grain": plan.grain, "request": dict(plan.request)}
        return {name: kept.cpu() for name, kept in plan.kept.items()}, facts

    def resume(self, kept: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take what `state` gave; `start_` then puts the masks on."""
        self.done, self.pruned = facts["done"], None
        self._resumed = Plan(dict(kept), facts["grain"], facts["request"]) if self.done else None

    def _inputs(self, network: nn.Module) -> Any:
        if self.example_inputs is None:
            raise IsopruneError("Give example_inputs=: what the network's forward takes, such as x[:2].")
        return to_device(self.example_inputs, device_of(network))

    def _as_it_is(self, network: nn.Module) -> Pruned:
        assert self.pruned is not None
        return replace(rewind(self.pruned, network), history=self.pruned.history)

    def _hold_(self, network: nn.Module, masks: Mapping[str, Tensor]) -> None:
        mask_(network, masks)
        for module in network.modules():
            if _masked_keys(module):
                self._hooks.append(module.register_state_dict_post_hook(_plain_names))
                self._hooks.append(module.register_load_state_dict_pre_hook(_masked_names))

    def _release_(self, network: nn.Module) -> None:
        while self._hooks:
            self._hooks.pop().remove()
        harden_(network)


def _masked_keys(module: nn.Module) -> list[str]:
    chains = getattr(module, "parametrizations", {})
    return [key for key, chain in chains.items() if len(chain) == 1 and isinstance(chain[0], Mask)]


def _plain_names(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Give masked tensors of a state dict the names that they have without masks, and their zeros."""
    for key in _masked_keys(module):
        inside = f"{prefix}parametrizations.{key}."
        kept = state.pop(f"{inside}0.kept")
        # In place: what is masked reads as zero anyway, and tied tensors stay one in the file.
        with torch.no_grad():
            state[f"{prefix}{key}"] = state.pop(f"{inside}original").masked_fill_(~kept, 0)


def _masked_names(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Give tensors of a plain state dict the names that they have under masks, which stay as they are."""
    for key in _masked_keys(module):
        if f"{prefix}{key}" in state:
            inside = f"{prefix}parametrizations.{key}."
            state[f"{inside}original"] = state.pop(f"{prefix}{key}")
            state[f"{inside}0.kept"] = module.get_buffer(f"parametrizations.{key}.0.kept")
