"""The task: what a batch means. Inputs, loss, metrics."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

from torch import Tensor, device, nn
from torch.nn.functional import cross_entropy
from torch.utils._pytree import tree_map

from isoprune.types.errors import IsopruneError
from isoprune.types.value_digest import value_digest

Inputs = Callable[[Any], Any]  # batch -> what the forward takes
Loss = Callable[[Any, Any], Tensor]  # outputs, batch -> scalar, the mean over the batch's samples


@dataclass(frozen=True)
class Metric:
    """A number of a whole pass: what is counted in each batch is added up, and ``value`` is made of the sum.

    Attributes:
        counts: (outputs, batch) -> what to add up: a tensor, such as the counts of a confusion matrix, or a
            list, such as one entry a detection.
        value: (sum, number of samples) -> the number. By default the sum over the number of samples.
        higher_is_better: False for errors and losses.
        while_training: Whether it is worth its time on every training batch too.
    """

    counts: Callable[[Any, Any], Any]
    value: Callable[[Any, int], float] = lambda total, samples: float(total) / samples
    higher_is_better: bool = True
    while_training: bool = False


def samples_in(batch: Any) -> int:
    """Return how many samples a batch holds: the first dimension of its first tensor, or a list's length.

    Tensors that stand in the batch itself come before those in lists within it; a list of dicts, or within
    a tuple a list, holds one entry a sample.
    """
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else 1
    if are_images(batch):
        return len(batch)
    parts = list(batch.values()) if isinstance(batch, Mapping) else batch
    if not isinstance(parts, list | tuple) or not parts:
        return 1
    tensor = next((part for part in parts if isinstance(part, Tensor) and part.dim()), None)
    if tensor is not None:
        return len(tensor)
    if isinstance(batch, list) and isinstance(batch[0], Mapping):
        return len(batch)
    nested = next((part for part in parts if isinstance(part, list | tuple | Mapping)), None)
    return len(nested) if isinstance(nested, list) else 1 if nested is None else samples_in(nested)


def are_images(value: Any) -> bool:
    """Tell whether this is a list of images, one a sample, as detectors take; other lists are of fields."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(x, Tensor) and x.dim() == 3 and len(x) in (3, 4) for x in value)
    )


def _first(batch: Any) -> Any:
    """Return the first part of a batch; what is a tensor, or a list of images, is the inputs itself."""
    return batch if isinstance(batch, Tensor) or are_images(batch) else batch[0]


def _second(batch: Any) -> Any:
    if isinstance(batch, Tensor) or are_images(batch):
        raise IsopruneError(
            "A batch is inputs alone, and the loss needs targets. Give batches of (inputs, targets), or "
            "task=isoprune.Task(inputs=..., loss=...)."
        )
    return batch[1]


def cross_entropy_loss(outputs: Any, batch: Any, *, label_smoothing: float = 0.0) -> Tensor:
    if isinstance(outputs, Tensor) and outputs.dim() > 1 and outputs.shape[1] == 1:
        raise IsopruneError(
            f"The network has one output ({tuple(outputs.shape)}), and cross-entropy over one class is "
            "always 0. Give loss=torch.nn.BCEWithLogitsLoss() for a logit, or torch.nn.MSELoss() for a value."
        )
    return cross_entropy(outputs, _second(batch), label_smoothing=label_smoothing)


def _right(outputs: Tensor, batch: Any) -> Tensor:
    return (outputs.argmax(1) == _second(batch)).sum()


def _summed_entropy(outputs: Tensor, batch: Any) -> Tensor:
    return cross_entropy(outputs.double(), _second(batch), reduction="sum")


def _classification() -> Mapping[str, Metric]:
    return {
        "accuracy": Metric(_right, while_training=True),
        "loss": Metric(_summed_entropy, higher_is_better=False),
    }


@dataclass(frozen=True)
class Task:
    """What a batch means; the default is the classification of (inputs, labels) by cross-entropy.

    Attributes:
        inputs: batch -> what the forward takes: one argument, a tuple of arguments or a dict of keywords.
        loss: (outputs, batch) -> scalar tensor, the mean over the samples of the batch. A loss of torch
            (`nn.MSELoss()`, `torch.nn.functional.mse_loss`) gets ``batch[1]`` in place of the batch.
        metrics: Name -> `Metric`, or (outputs, batch) -> number, the mean over the samples of the batch,
            higher being better. The first one is what a training is judged by; without any it is the loss.
            One that is called "loss" stands in for ``loss`` where a network is evaluated.
        name: How tables call it.
        loss_in_train_mode: Whether only the outputs in train mode have a loss, as with torchvision's
            detectors, which return losses there and detections in eval mode.
        samples: batch -> how many samples it holds.

    Raises:
        IsopruneError: If the loss is no function, or metrics have no names.
    """

    inputs: Inputs = _first
    loss: Loss = cross_entropy_loss
    metrics: Mapping[str, Metric | Callable[[Any, Any], Any]] = field(default_factory=_classification)
    name: str = "own"
    loss_in_train_mode: bool = False
    samples: Callable[[Any], int] = samples_in
    measured: Mapping[str, Metric] = field(init=False, repr=False, compare=False)  # what an evaluation gives

    def __post_init__(self) -> None:
        loss, metrics = self.loss, self.metrics
        if not callable(loss) or isinstance(loss, type):
            raise IsopruneError(
                f"loss is {loss!r}. Give a function of (outputs, batch), or a loss of torch, such as "
                "nn.MSELoss()."
            )
        if not isinstance(metrics, Mapping):
            raise IsopruneError(
                f"metrics is {metrics!r:.60}. Give functions of (outputs, batch) by name, such as "
                "{'error': lambda outputs, batch: ...}."
            )
        if isinstance(loss, nn.Module) or getattr(loss, "__module__", None) == "torch.nn.functional":
            object.__setattr__(self, "loss", partial(_of_targets, loss))
        measured = {name: self._whole(metric) for name, metric in metrics.items()}
        if "loss" not in measured and not self.loss_in_train_mode:
            measured["loss"] = Metric(self._weighted(self.loss), higher_is_better=False)
        object.__setattr__(self, "measured", measured)

    def _whole(self, metric: Metric | Callable[[Any, Any], Any]) -> Metric:
        return metric if isinstance(metric, Metric) else Metric(self._weighted(metric))

    def _weighted(self, mean: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        return lambda outputs, batch: float(mean(outputs, batch)) * self.samples(batch)

    def inputs_of(self, batch: Any) -> Any:
        """Return what the forward takes of a batch.

        Raises:
            IsopruneError: If the batch is not as ``inputs`` expects it.
        """
        try:
            return self.inputs(batch)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise IsopruneError(
                f"The task {self.name!r} cannot read its inputs off a batch, which is {described(batch)}: "
                f"{type(error).__name__}: {error}. Give task=Task(inputs=..., loss=...)."
            ) from error

    def outputs(self, model: nn.Module, batch: Any) -> Any:
        """Return what the network makes of a batch.

        Raises:
            IsopruneError: If the batch is not as ``inputs`` expects it.
        """
        return forward(model, self.inputs_of(batch))

    def digests(self) -> dict[str, str]:
        """Return a digest of each part that its numbers depend on, see `value_digest`."""
        return {f.name: value_digest(getattr(self, f.name)) for f in fields(self) if f.compare}

    @property
    def judged_by(self) -> tuple[str, bool]:
        """The name of the number that a training is judged by, and whether higher is better."""
        if not self.measured:
            raise IsopruneError(
                f"The task {self.name!r} has no metric, and its loss is one of train mode only: nothing says "
                "which of two networks is better. Give it metrics."
            )
        name, metric = next(iter(self.measured.items()))
        return name, metric.higher_is_better


def _of_targets(loss: Callable[..., Tensor], outputs: Any, batch: Any) -> Tensor:
    return loss(outputs, _second(batch))


def reads_classes(task: Task, batch: Any) -> bool:
    """Whether the task's loss is cross-entropy, and the batch's targets are numbers of classes.

    Of the targets only the type is looked at: a network of another kind has the default task all the same
    where nothing but its inputs is needed.
    """
    targets = batch[1] if isinstance(batch, tuple | list) and len(batch) > 1 else None
    whole = isinstance(targets, Tensor) and not (targets.is_floating_point() or targets.is_complex())
    return whole and has_cross_entropy(task)


def has_cross_entropy(task: Task) -> bool:
    """Whether the task's loss is cross-entropy: ours, torch's function or torch's module."""
    losses = (task.loss, getattr(task.loss, "func", None), *getattr(task.loss, "args", ()))
    return any(
        loss in (cross_entropy_loss, cross_entropy) or isinstance(loss, nn.CrossEntropyLoss)
        for loss in losses
    )


def forward(model: Callable[..., Any], inputs: Any) -> Any:
    """Return the outputs: a tuple is the arguments, a dict the keywords, all else is one argument.

    Raises:
        IsopruneError: For a batch of one where BatchNorm trains, inputs of another type than the weights, and
            arguments that the forward does not take.
    """
    try:
        return _called(model, inputs)
    except TypeError as error:
        if re.search(r"forward\(\) (missing|takes|got an unexpected)", str(error)):
            raise IsopruneError(
                f"The forward does not take what is made of a batch: {error}. The inputs are its first part "
                "by default; give task=isoprune.Task(inputs=lambda batch: ...) that returns what it takes: a "
                "tensor, a tuple of arguments, or a dict of keywords."
            ) from error
        raise
    except (ValueError, RuntimeError) as error:
        if "more than 1 value per channel" in str(error):
            raise IsopruneError(
                "A batch of one sample has no variance for BatchNorm to train by. Give another batch size, "
                "or DataLoader(..., drop_last=True), which leaves out a last batch of one."
            ) from error
        if "same dtype" in str(error) or re.search(r"Input type .* should be the same", str(error)):
            raise IsopruneError(
                f"The inputs are of another type than the weights ({error}). Convert one of them: "
                "network.float(), or inputs.to(dtype)."
            ) from error
        raise


def _called(model: Callable[..., Any], inputs: Any) -> Any:
    if isinstance(inputs, Tensor):
        return model(inputs)
    if isinstance(inputs, tuple):
        return model(*inputs)
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def to_device(batch: Any, there: device) -> Any:
    """Return the batch with every tensor in it on a device; on it already, it is as it was."""
    if type(batch) is tuple and all(type(part) is Tensor for part in batch):
        return tuple(part.to(there, non_blocking=True) for part in batch)
    return tree_map(lambda part: part.to(there, non_blocking=True) if hasattr(part, "to") else part, batch)


def described(batch: Any) -> str:
    """Return in words what a batch is made of."""
    if isinstance(batch, Tensor):
        return f"a tensor of {tuple(batch.shape)}"
    if isinstance(batch, Mapping):
        return f"a {type(batch).__name__} of {', '.join(map(str, batch))}"
    if isinstance(batch, list | tuple):
        return f"a {type(batch).__name__} of {', '.join(type(part).__name__ for part in batch[:4])}"
    return f"a {type(batch).__name__}"


CLASSIFICATION = Task(name="classification")


def task_with(task: Task, loss: Any = None, metrics: Mapping[str, Any] | None = None) -> Task:
    """Return ``task``, or one of its inputs with a loss or metrics of one's own.

    Metrics belong to a loss: with another loss and no metrics the loss alone is measured.
    """
    if loss is None and metrics is None:
        return task
    if metrics is None:
        metrics = {}
    return Task(
        task.inputs,
        task.loss if loss is None else loss,
        metrics,
        loss_in_train_mode=task.loss_in_train_mode,
        samples=task.samples,
    )
