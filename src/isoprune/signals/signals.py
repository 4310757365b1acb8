"""Signals: what a method may read of a network on data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call

from isoprune.signals import activations, diagonals, per_sample, products
from isoprune.signals.effective import WeightSource, computed_from, effective
from isoprune.signals.losses import loss_of
from isoprune.signals.matrices import filter_matrices
from isoprune.signals.modes import in_train_mode, normalised_by_batch
from isoprune.signals.samples import Pieces, batches_of, cut, joined
from isoprune.types import IsopruneError
from isoprune.types.network import Network, device_of, module_of
from isoprune.types.task import CLASSIFICATION, Task, forward, to_device

Tensors = Mapping[str, Tensor]  # a tensor for every weight, by the weight's name


@dataclass(frozen=True)
class Signals:
    """A network, data and a task, and what follows from them, gathered when it is read.

    The network is read in eval mode (BatchNorm must not couple samples) and on a copy that shares its
    weights: its modes, `.grad`, statistics and hooks stay as they are. Weights that a mask or another
    parametrization makes are those that the forward works with. Weights and gradients are gathered once, so
    the network must not change while its signals are in use.

    Attributes:
        model: A module, or a `Pruned`.
        batches: What the task understands, such as (inputs, labels); any number of passes may be made, and
            what can be passed through only once (a generator) is kept in memory.
        task: What a batch means.
        memory: Bound in bytes on what is held of single samples at a time.
        example: What the forward takes, for methods that look at no data; None: the first sample of the data.
        batch_statistics: Whether BatchNorm normalises by the batch at hand, as in training. What is read of
            single samples means nothing then.
    """

    model: Network
    batches: Iterable[Any] | None = None
    task: Task = CLASSIFICATION
    memory: int = 2**30
    example: Any = None
    batch_statistics: bool = False

    def __post_init__(self) -> None:
        if self.batches is not None:
            # Here, so that what is made of these signals for another network reads the same batches.
            object.__setattr__(self, "batches", batches_of(self.batches))

    @cached_property
    def network(self) -> nn.Module:
        """The copy that is read: eval mode, plain weights, shared with ``model`` where they can be."""
        copy = effective(module_of(self.model))
        return normalised_by_batch(copy) if self.batch_statistics else copy

    @cached_property
    def device(self) -> torch.device:
        return device_of(self.network)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """Every weight by the name that its layer uses, detached; tied ones once, by their first name."""
        return {name: p for name, p in self._parameters.items() if p.is_floating_point()}

    @property
    def magnitudes(self) -> dict[str, Tensor]:
        """The weights, and of complex ones the absolute values."""
        complexes = {name: p.abs() for name, p in self._parameters.items() if p.is_complex()}
        return {**self.weights, **complexes}

    @cached_property
    def _parameters(self) -> dict[str, Tensor]:
        named = (self.network if self.computed else module_of(self.model)).named_parameters()
        return {name: p.detach() for name, p in named}

    @cached_property
    def computed(self) -> dict[str, WeightSource]:
        """What weights are computed from, by name: see `computed_from`."""
        return computed_from(module_of(self.model))

    @cached_property
    def matrices(self) -> dict[str, Tensor]:
        """The filter matrices [blocks, filters, fan_in] of Linear layers and convolutions, by weight."""
        return filter_matrices(self.network)

    def of(self, model: Network) -> Signals:
        """Return what follows from the same data and another network."""
        return replace(self, model=model)

    def taking(self, samples: int) -> Signals:
        """Return what follows from the first ``samples`` samples alone."""
        return replace(self, batches=list(self.first(samples)))

    def in_batches_of(self, most: int) -> Signals:
        """Return what follows from the same samples, at most ``most`` at a time."""
        return replace(
            self, batches=Pieces(() if self.batches is None else self.batches, self.task.samples, most)
        )

    def data(self) -> Iterator[Any]:
        """Yield the batches, on the network's device.

        Raises:
            IsopruneError: If there are none.
        """
        number = 0
        for number, batch in enumerate(() if self.batches is None else self.batches, 1):  # noqa: B007
            yield to_device(batch, self.device)
        if not number:
            raise IsopruneError(
                "batches is empty, and this method looks at data. "
                "Pass batches=[(inputs, targets), ...], such as a DataLoader of training data."
            )

    def first(self, samples: int) -> Iterator[Any]:
        """Yield the first ``samples`` samples as the batches that they came in, the last of them cut."""
        left = samples
        for batch in self.data():
            number = self.task.samples(batch)
            yield cut(batch, 0, min(number, left), number=number)
            left -= number
            if left <= 0:
                return

    def chunks(self, samples: int, *, chunk: int = 64) -> Iterator[Any]:
        """Yield the inputs of the first ``samples`` samples, at most ``chunk`` of them at a time."""
        for batch in self.first(samples):
            number = self.task.samples(batch)
            for start in range(0, number, chunk):
                yield self.task.inputs_of(cut(batch, start, min(start + chunk, number), number=number))

    def example_inputs(self) -> Any:
        """Return what the forward takes, on the network's device: ``example``, or the first sample.

        Raises:
            IsopruneError: If there is neither.
        """
        return next(self.chunks(1)) if self.example is None else to_device(self.example, self.device)

    def inputs(self, samples: int) -> Any:
        """Return the inputs of the first ``samples`` samples: a tensor, or whatever the forward takes."""
        return joined(list(self.chunks(samples)))

    def forward(self, inputs: Any, weights: Tensors | None = None) -> Any:
        """Return the outputs for ``inputs``, with these weights in the place of the network's own."""
        changed = dict(weights or {})
        return forward(lambda *args, **kwargs: functional_call(self.network, changed, args, kwargs), inputs)

    def outputs(self, batch: Any, weights: Tensors) -> Any:
        """Return what the task's loss reads: the outputs, as of train mode where it has none of eval mode.

        Norms and dropout are in eval mode even then, and what is drawn is the same at every call.
        """
        inputs = self.task.inputs_of(batch)
        if not self.task.loss_in_train_mode:
            return self.forward(inputs, weights)
        with in_train_mode(self.network, self.device):
            return self.forward(inputs, weights)

    def loss(self, batch: Any, weights: Tensors) -> Tensor:
        """Return the task's loss on a batch, differentiable in ``weights``."""
        return loss_of(self.task, self.outputs(batch, weights), batch)

    def leaves(self) -> dict[str, Tensor]:
        """Return the weights as leaves of a new autograd graph."""
        return {name: w.detach().requires_grad_() for name, w in self.weights.items()}

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """The gradient of the mean loss over all samples; zero where the loss does not depend on a weight.

        Raises:
            IsopruneError: Without data, or if a loss is not finite.
        """
        return products.mean(self, products.gradient)

    @property
    def sensitivities(self) -> dict[str, Tensor]:
        r"""Weight times gradient, :math:`w \odot \partial L / \partial w`: minus the slope of fading it."""
        return {name: self.weights[name] * g for name, g in self.gradients.items()}

    def sample_gradients(self) -> Iterator[dict[str, Tensor]]:
        """Yield the gradients of single samples' losses, [samples, *weight], some samples at a time."""
        return per_sample.gradients(self)

    def sample_mean(self, total: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the mean over samples of what ``total`` sums up over some samples' gradients."""
        return per_sample.mean(self, total)

    @cached_property
    def fisher_diagonal(self) -> dict[str, Tensor]:
        """The mean square of single samples' gradients: the diagonal of the empirical Fisher matrix."""
        return self.sample_mean(lambda g: {name: t.square().sum(0) for name, t in g.items()})

    def hessian_product(self, vector: Tensors) -> dict[str, Tensor]:
        """Return the Hessian of the mean loss times a vector."""
        return products.mean(self, lambda s, batch: products.hessian(s, batch)(vector))

    @cached_property
    def hessian(self) -> Callable[[Tensors], dict[str, Tensor]]:
        """v -> `hessian_product` of v, for many of few samples: the gradient's graph of all data is kept."""
        return products.many_hessian(self)

    def gauss_newton_diagonal(
        self, draws: int | None = None, generator: Generator | None = None
    ) -> dict[str, Tensor]:
        """Return the diagonal of the Gauss-Newton matrix: exact, or the mean of so many draws."""
        return diagonals.gauss_newton(self, draws, generator)

    def activations(
        self, modules: Sequence[str], *, samples: int | None = None, gradients: bool = False
    ) -> Iterator[dict[str, list[activations.Activation]]]:
        """Yield, batch by batch, what each of these modules read and made, one entry for every run of it.

        Modules come in the order in which they first run.

        Args:
            modules: Their names in the network.
            samples: How many samples are looked at; None: all.
            gradients: Whether to find the gradient of the batch's mean loss by what each module made.
        """
        return activations.watched(self, modules, samples=samples, gradients=gradients)
