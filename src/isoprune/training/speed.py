"""The fastest precision and memory format for training steps on this machine, by a short measurement."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isoprune.training.loop import PLAIN, Loop
from isoprune.types.seeded import lent_generators

# Of the plain loop's time: what another must save to be taken. bfloat16 changes numbers, and that for little.
WORTH = 0.85
SHORT = 60.0
_SECONDS = 4.0  # that measuring may take, about
_ROUNDS = 5


def fastest_loop(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    steps: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Loop, Mapping[Loop, float]]:
    """Return the loop by which a step is taken fastest, and the samples a second of each that was tried.

    Full precision and bfloat16 (of networks in float32), channels last or not (of images), in turn, medians
    of `_ROUNDS` steps forward and backward. The plain loop stays unless another saves 15 % of its time, and
    nothing else is tried where the training takes less than `SHORT` seconds.

    Args:
        model: Only a copy of it runs, in train mode.
        inputs, targets: A batch as training has it, with class labels.
        steps: That the training takes.

    Cost: about `_SECONDS`, and a copy of the network for each memory format.
    """
    loops = [PLAIN]
    if all(p.dtype == torch.float32 for p in model.parameters()):
        loops.append(Loop(precision="bf16"))
    if inputs.dim() == 4 and any(isinstance(m, nn.Conv2d) for m in model.modules()):
        loops += [Loop(loop.precision, channels_last=True) for loop in list(loops)]
    with lent_generators(device=inputs.device), torch.enable_grad():
        seconds = _seconds(model, inputs, targets, [PLAIN], clock)
        if seconds[PLAIN] * steps > SHORT:
            seconds = _seconds(model, inputs, targets, loops, clock)
    best = min(seconds, key=lambda loop: seconds[loop])
    chosen = best if seconds[best] <= WORTH * seconds[PLAIN] else PLAIN
    return chosen, {loop: len(inputs) / max(s, 1e-9) for loop, s in seconds.items()}


def _seconds(
    model: nn.Module, inputs: Tensor, targets: Tensor, loops: Sequence[Loop], clock: Callable[[], float]
) -> dict[Loop, float]:
    """Return the seconds of a step by each loop."""
    steps = {loop: _step(model, inputs, targets, loop) for loop in loops}
    for step in steps.values():
        step()  # kernels are compiled, memory is taken
    times: dict[Loop, list[float]] = {loop: [] for loop in loops}
    began = clock()
    for _ in range(_ROUNDS):
        for loop, step in steps.items():
            start = clock()
            step()
            times[loop].append(clock() - start)
        if clock() - began > _SECONDS:
            break
    return {loop: median(of_loop) for loop, of_loop in times.items()}


def _step(model: nn.Module, inputs: Tensor, targets: Tensor, loop: Loop) -> Callable[[], None]:
    layout = torch.channels_last if loop.channels_last else torch.preserve_format
    mine = copy.deepcopy(model).train().to(memory_format=layout)
    x = inputs.contiguous(memory_format=layout) if loop.channels_last else inputs

    def step() -> None:
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=loop.precision == "bf16"):
            outputs = mine(x)
        F.cross_entropy(outputs.float(), targets).backward()
        mine.zero_grad()

    return step
