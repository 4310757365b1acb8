"""Polishing: training steps toward the dense network's outputs, which read no label."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from isoprune.graph.cloning import copied
from isoprune.graph.outputs import tensors_in
from isoprune.methods.layers.stored import refresh_
from isoprune.methods.repairs.mixtures import blended, patched
from isoprune.methods.schedules import cosine
from isoprune.pruning.pruned import Pruned
from isoprune.signals.modes import in_eval_mode
from isoprune.signals.samples import every_eighth, in_batches
from isoprune.signals.signals import Signals
from isoprune.training import Diverged, Muon, Training, Watch, evaluate, fit
from isoprune.training.distill import distillation_loss
from isoprune.training.settings import OptimizerChoice
from isoprune.types import Data, IsopruneError
from isoprune.types.errors import check_known
from isoprune.types.method import method
from isoprune.types.methods import Repaired
from isoprune.types.task import Task, forward, reads_classes
from isoprune.types.units import DEPTH, GRAINS

SAMPLES = 76_800  # 300 steps of 256: what the trials of it took
_PATIENCE = 4  # a run ends when a part of so many of it has brought nothing
_RATES = (1.0, 0.25, 0.06)  # parts of lr: one that brings nothing at all is followed by the next


class _Steps(NamedTuple):
    """How samples are mixed, what steps at which rate, and how often all images are gone through at most."""

    collate: Callable[[Sequence[Any]], Any]
    optimizer: OptimizerChoice
    lr: Callable[[float], float]  # of the held-out loss at the start
    passes: int  # more over the same images only learn them by heart


def _by_distance(off: float) -> float:
    # Steps of Muon are as long near the goal as far from it: how far it is says the rate.
    return 1.2e-3 * min(math.sqrt(off), 1.0)


_PLAIN = _Steps(blended, Muon, _by_distance, 48)
_NORMED = _Steps(patched, "adamw", lambda _: 5e-3, 40)


@method(
    "repair", "data", "dense", grains=(*GRAINS, DEPTH), label="polish (trains)", source="Hinton et al., 2015"
)
def polish(
    pruned: Pruned,
    signals: Signals,
    *,
    generator: Generator,
    train_samples: int = SAMPLES,
    images: int = 2048,
    batch: int = 128,
    lr: int | float | None = None,
    match: Literal["auto", "kl", "squares"] = "auto",
) -> Repaired:
    r"""Return a copy trained for a while to make what the dense network makes of the same inputs.

    This is training, not a closed form: what it took is counted with that of retraining. No label is read.
    Muon (with BatchNorm: Adam), its rate falling to zero along half a cosine, minimises

    - "kl": :math:`\text{KL}(p_{dense} \,\|\, p)`, of logits of classes (dimension 1);
    - "squares": :math:`|y - y_{dense}|^2`, the mean over all tensors of floats in the outputs, each over the
      variance that it has in the dense network.

    "auto" takes "kl" where the task's loss is cross-entropy, the output one tensor [samples, classes, ...]
    and labels are numbers of classes; of these only the type is looked at. On two perceptrons "kl" was 1.5
    points above squares of the logits.

    Each sample of a step is a mixture with another of the step, where all tensors of an input are of floats;
    the dense network says what is wanted of it, and few images are then not learnt by heart. With BatchNorm
    that is a box of the other one (CutMix: Yun et al., 2019), whose statistics are those of the data, and
    else :math:`\lambda x + (1 - \lambda) x'`, :math:`\lambda` uniform on [0, 1] (mixup: Zhang et al., 2018).

    Every eighth image is held out. After each pass over the others the held-out loss is taken in eval mode;
    the network comes back as it was where that was least, which may be as it came. A run ends when a quarter
    of it comes no nearer than it was; one that ended no nearer than the start is begun again, twice at most,
    at a quarter of the rate, with the samples that are left. What was fitted to the held-out images before
    looks better there than it is, and nothing may then seem to gain: `auto` leaves the same eighth out.
    BatchNorm is in train mode during the steps, all else, Dropout too, in eval mode.

    Args:
        train_samples: At most so many are trained on, in all runs together; no run has more than 48 passes
            over the images (with BatchNorm 40).
        images: How many inputs are looked at.
        batch: Samples a step.
        lr: At the start. None: 1.2e-3 times the root of the held-out loss, at most 1.2e-3, of
            `isoprune.training.Muon`; of Adam 5e-3 for a network with BatchNorm, in front of which filters
            have no scale of their own.
        match: As above.

    Cost: ``train_samples`` times a forward and a backward, and a forward of the dense network; for each pass
    a forward of an eighth of ``images`` through both. Memory: a copy of each network, and four numbers a
    weight (gradient, momentum, Adam's square, the best so far); the graph of ``batch`` samples, and
    ``images`` inputs.

    Raises:
        IsopruneError: Without data; with fewer than two images, or NaN in one; for options outside of their
            range; if the outputs of the two networks differ in number or shape; if every parameter is frozen.
    """
    check_known(match, ("auto", "kl", "squares"), "match")
    normed = any(isinstance(module, _BatchNorm) for module in pruned.model.modules())
    how = _NORMED if normed else _PLAIN
    if train_samples < 0 or not (lr is None or lr > 0):
        raise IsopruneError(
            f"train_samples = {train_samples} and lr = {lr} of polish: give 0 samples or more, and a rate "
            "above 0."
        )
    each = list(signals.chunks(images, chunk=1))
    if len(each) < 2:
        raise IsopruneError(
            f"Repair 'polish' holds every eighth image out, and batches hold {len(each)}. Pass more."
        )
    if any(bool(t.isnan().any()) for inputs in each for t in tensors_in(inputs)):
        raise IsopruneError(
            "An input in batches holds NaN, which nothing can be learnt from. Check the data."
        )
    judging, seen = every_eighth(each)
    judges = in_batches(judging, batch)
    pair = _Pair(copied(pruned.model), copied(pruned.dense).requires_grad_(False))
    task = Task(inputs=lambda inputs: inputs, loss=_loss(match, signals, pair, judges), metrics={})
    best = _Best(pair, judges, task)
    lr = how.lr(best.off) if lr is None else lr
    size, left = min(batch, len(seen)), train_samples
    source: Any = DataLoader(seen, size, shuffle=True, collate_fn=how.collate, drop_last=True)  # pyright: ignore[reportArgumentType]
    for part in _RATES:
        if left < size or best.off == 0 or best.gained:
            break
        steps = min(left // size, how.passes * len(source))
        passes = math.ceil(steps / len(source))
        best.begin(passes)
        training = Training(passes, part * lr, cosine(), None, steps, how.optimizer, weight_decay=0.0)
        watch = Watch(measure=best.judge)
        try:
            fit(pair, Data(source, None), training, generator=generator, task=task, watch=watch)
        except _Enough:
            pass
        except Diverged:
            best.passes += 1  # the pass that it diverged in was not judged
        left -= min(best.passes * len(source), steps) * size
    return Repaired(_with_state(pruned.model, best.state), train_samples - left, best.judged)


class _Pair(nn.Module):
    """Both networks on the same inputs. Only the first one's BatchNorm ever is in train mode."""

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher

    def train(self, mode: bool = True) -> _Pair:
        for module in self.modules():
            module.training = False
        for module in self.student.modules():
            if isinstance(module, _BatchNorm):
                module.training = mode
        return self

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        with torch.no_grad():
            wanted = self.teacher(*args, **kwargs)
        return self.student(*args, **kwargs), wanted


class _Enough(Exception):
    """Going on brings nothing."""


class _Best:
    """The weights of the least held-out loss so far, and what was spent on finding them."""

    def __init__(self, pair: _Pair, judges: Sequence[Any], task: Task) -> None:
        self.judges, self.task = judges, task
        self.judged = self.passes = self.last_gain = self.patience = 0
        self.nearest = math.inf  # the least held-out loss of the run
        self.gained = False
        self.off = self._off(pair)
        self.state = _state(pair.student)

    def begin(self, passes: int) -> None:
        """Note that a run of so many passes begins."""
        self.passes, self.last_gain, self.nearest = -1, 0, math.inf
        self.patience = max(math.ceil(passes / _PATIENCE), 1)

    def judge(self, pair: nn.Module) -> dict[str, float]:
        """Judge the network after a pass, which `fit` calls this with; the first time it is as it came."""
        self.passes += 1
        if not self.passes:
            return {}
        off = self._off(pair)
        if off < self.off:
            self.off, self.state, self.gained = off, _state(pair.student), True  # pyright: ignore[reportArgumentType]
        # A large rate first leads away from a good start, and below it when it falls.
        if off < self.nearest:
            self.nearest, self.last_gain = off, self.passes
        elif self.passes - self.last_gain >= self.patience:
            raise _Enough
        return {"off": off}

    def _off(self, pair: nn.Module) -> float:
        off = evaluate(pair, self.judges, task=self.task)["loss"]
        self.judged += sum(map(self.task.samples, self.judges))
        return off if math.isfinite(off) else math.inf


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.detach().clone() for key, tensor in model.state_dict().items()}


def _with_state(original: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """Return a copy of a network with other tensors in it; what a mask holds at zero stays as it was."""
    made = copied(original)
    made.load_state_dict(state)
    for module in made.modules():
        for name in [*module._buffers]:
            if name.endswith("_mask"):
                refresh_(module, name.removesuffix("_mask"))
    return made


def _loss(match: str, signals: Signals, pair: nn.Module, judges: Sequence[Any]) -> Callable[..., Tensor]:
    """Return ((what the network makes, what the dense one makes), batch) -> loss."""
    with torch.no_grad(), in_eval_mode(pair):
        examples = [forward(pair, x) for x in judges]
    made, wanted = (list(tensors_in(one)) for one in examples[0])
    if [t.shape for t in made] != [t.shape for t in wanted]:
        raise IsopruneError(
            "Repair 'polish' compares outputs, and those of the pruned and the dense network differ in "
            "number or shape on the same inputs. Name another repair."
        )
    logits = isinstance(examples[0][1], Tensor) and wanted[0].dim() > 1 and wanted[0].shape[1] > 1
    if match == "kl" and not logits:
        raise IsopruneError(
            "match is 'kl', and the outputs are not one tensor of logits, [samples, classes, ...]. Take "
            "'squares'."
        )
    if match == "kl" or (match == "auto" and logits and reads_classes(signals.task, next(signals.data()))):
        return _kl
    each = [list(tensors_in(theirs)) for _, theirs in examples]
    return partial(_squares, scales=[_variance(same) for same in zip(*each, strict=True)])


def _kl(outputs: tuple[Tensor, Tensor], _batch: Any) -> Tensor:
    return distillation_loss(*outputs, temperature=1.0)


def _squares(outputs: tuple[Any, Any], _batch: Any, *, scales: Sequence[float]) -> Tensor:
    pairs = zip(*map(tensors_in, outputs), scales, strict=True)
    return torch.stack([(a - b).square().mean() / scale for a, b, scale in pairs]).mean()


def _variance(parts: Sequence[Tensor]) -> float:
    """Return the variance of all elements of these tensors; one where they are all the same."""
    flat = torch.cat([part.flatten() for part in parts]).double()
    return float(flat.var(correction=0)) or 1.0
