"""What every layer does to the signal forward and to the gradient backward, on data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.isometry.function import SampleFunction, sample_function
from isoprune.isometry.memory import default_memory, footprint
from isoprune.isometry.picks import InputPick, Inputs, OutputPick
from isoprune.linalg import filter_matrix
from isoprune.types.seeded import seeded

_EXACT_OUTPUTS = 32  # up to so many outputs every one is pulled back; beyond, so many random directions

# What is watched is copied twice on its way in and once on its way out, besides what the forward keeps.
_COPIES = 4


@dataclass(frozen=True)
class LayerGain:
    r"""One run of one layer.

    ``forward`` is the norm of its output over that of its input. ``backward`` is :math:`\|g_{in}\|_F /
    \|g_{out}\|_F`, with g the gradients of all outputs: in a chain of layers these multiply to the root mean
    square of the Jacobian's singular values (outputs <= inputs), so their logarithms say who lost how much.
    ``reaches`` is :math:`\|g_{in}\|_F` over the square root of the outputs: what is left of that product at
    this layer.
    """

    name: str
    kind: str
    forward: float
    backward: float
    reaches: float


def layer_gains(
    model: nn.Module,
    inputs: Inputs,
    *,
    input: InputPick = None,
    output: OutputPick = None,
    memory: int | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
) -> list[LayerGain]:
    """Return forward and backward gain of every layer on these samples, in the order they run.

    A layer is a module without submodules (masked or not), or an attention, that maps a tensor of floats to
    another. One that runs more than once comes back once a run: ``name``, ``name#2``. In residual networks
    gains hold along each layer's own path, and do not multiply across the sums. A gain out of a zero signal
    is 0.

    Args:
        seed: Of the random orthonormal directions that stand for the outputs where they are more than 32.
        memory: Bound in bytes, by which samples go in parts; one sample goes whatever it takes. None: a
            quarter of the free memory.

    Other arguments, and what raises, as in `jacobian_singular_values`.
    """
    where = {"input": input, "output": output, "dtype": dtype}
    powers: list[tuple[Tensor, Tensor]] = []
    layers: list[tuple[str, str]] = []
    samples = count = 0
    for f, x, y, runs in _forwards(model, inputs, memory, where):
        layers = [(name, kind) for name, kind, _, _ in runs]
        if not layers:  # one layer alone, or functions only: there is nothing to tell apart
            return []
        directions = _directions(f, seed)
        powers.append(_powers(y, runs, directions))
        samples, count = samples + len(x), len(directions)
    signals, gradients = (torch.stack(each).sum(0) for each in zip(*powers, strict=True))
    norms = signals.sqrt().tolist()
    strength = (gradients / (samples * count)).sqrt().tolist()
    return [
        LayerGain(
            name=name,
            kind=kind,
            forward=_ratio(norms[2 * i + 1], norms[2 * i]),
            backward=_ratio(strength[2 * i], strength[2 * i + 1]),
            reaches=strength[2 * i],
        )
        for i, (name, kind) in enumerate(layers)
    ]


def strength_with(
    model: nn.Module,
    inputs: Inputs,
    factors: Mapping[str, float],
    *,
    input: InputPick = None,
    output: OutputPick = None,
    memory: int | None = None,
    seed: int = 0,
) -> dict[str, float]:
    r"""Return, by run, the root mean square of the singular values if its gradient is multiplied by a factor.

    A negative factor passes on the gradient that arrives, so much of it, in place of the run's own (0 where
    shapes do not allow that). From one random direction a sample: :math:`E \|J^\top u\|^2 = \|J\|_F^2`.
    Cost: one forward, and a backward a run. Arguments as in `layer_gains`.
    """
    generator = seeded(seed)
    found = dict.fromkeys(factors, 0.0)
    samples = 0
    for _, x, y, runs in _forwards(model, inputs, memory, {"input": input, "output": output}):
        samples += len(x)
        u = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y)
        chosen = [run for run in runs if run[0] in factors]
        ends = [x, *(t for _, _, before, after in chosen for t in (before, after))]
        whole, *parts = torch.autograd.grad(y, ends, u, retain_graph=True, allow_unused=True)
        for i, (name, _, before, _) in enumerate(chosen):
            own, arrives = parts[2 * i], parts[2 * i + 1]
            more = None if own is None else (factors[name] - 1) * own
            if factors[name] < 0:
                fits = arrives is not None and arrives.shape == before.shape
                more = -factors[name] * arrives if fits else None
            if more is not None and whole is not None:
                (back,) = torch.autograd.grad(before, x, more, retain_graph=True, allow_unused=True)
                found[name] += float(_power(whole if back is None else whole + back))
    return {name: (power / max(samples, 1)) ** 0.5 for name, power in found.items()}


def _forwards(
    model: nn.Module, inputs: Inputs, memory: int | None, where: dict[str, Any]
) -> Iterator[tuple[SampleFunction, Tensor, Tensor, list[tuple[str, str, Tensor, Tensor]]]]:
    """Yield, part by part of the samples, x, y and every run: name, kind, input and output."""
    runs: list[tuple[str, str, Tensor, Tensor]] = []
    with contextlib.ExitStack() as stack:
        f = stack.enter_context(sample_function(model, inputs, **where))
        part = _part(f, memory)
        for name, module in model.named_modules():
            if name and _is_layer(name, module):
                _watch(name, module, runs, stack)
        for start in range(0, len(f.x), part):
            runs.clear()
            rows = f.rows(start, start + part)
            x = f.leaf(rows)
            yield f, x, f(x, rows), runs


def _is_layer(name: str, module: nn.Module) -> bool:
    # A mask is a parametrization of a layer's weight: neither a submodule nor a layer of its own.
    inner = {key for key, _ in module.named_children()} - {"parametrizations"}
    return "parametrizations" not in name.split(".") and (
        not inner or isinstance(module, nn.MultiheadAttention)
    )


def _part(f: SampleFunction, memory: int | None) -> int:
    """Return how many samples go together within the bound."""
    bound = default_memory(f.x.device) if memory is None else memory
    one = f.rows(0, 1)
    each = _COPIES * footprint(lambda: f(f.leaf(one), one), f.constants).saved
    return max((bound - f.kept) // max(each, 1), 1)


def _powers(y: Tensor, runs: list, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the squared norms of every run's input and output, of the signals and of the gradients."""
    ends = [t for _, _, before, after in runs for t in (before, after)]
    gradient = torch.zeros(len(ends), dtype=torch.float64)
    for u in directions:
        grads = torch.autograd.grad(y, ends, u.expand_as(y), retain_graph=True, allow_unused=True)
        gradient += torch.stack([_power(g) for g in grads])
    return torch.stack([_power(t) for t in ends]), gradient


def _watch(name: str, module: nn.Module, runs: list, stack: contextlib.ExitStack) -> None:
    before: list[Tensor] = []

    def enter(_module: nn.Module, args: tuple[Any, ...]) -> Any:
        before.clear()
        if not args or not isinstance(args[0], Tensor) or not args[0].requires_grad:
            return None
        # The first copy has this module as its only reader, so its gradient leaves out a shortcut around it;
        # the second is for a module that works in place, which would overwrite what is watched.
        before.append(args[0].clone())
        return (before[0].clone(), *args[1:])

    def leave(_module: nn.Module, _args: Any, out: Any) -> Any:
        first = out[0] if isinstance(out, (tuple, list)) and out else out
        if not before or not isinstance(first, Tensor) or not first.requires_grad:
            return None
        again = sum(run[0].partition("#")[0] == name for run in runs)
        runs.append((f"{name}#{again + 1}" if again else name, type(module).__name__, before[0], first))
        return type(out)([first.clone(), *out[1:]]) if isinstance(out, (tuple, list)) else first.clone()

    stack.callback(module.register_forward_pre_hook(enter).remove)
    stack.callback(module.register_forward_hook(leave).remove)


def _directions(f: SampleFunction, seed: int) -> Tensor:
    if f.outputs <= _EXACT_OUTPUTS:
        return torch.eye(f.outputs, dtype=f.x.dtype, device=f.x.device)
    noise = torch.randn(f.outputs, _EXACT_OUTPUTS, generator=seeded(seed), dtype=torch.float64)
    return torch.linalg.qr(noise)[0].mT.to(f.x)


def _power(t: Tensor | None) -> Tensor:
    return torch.zeros((), dtype=torch.float64) if t is None else t.detach().double().square().sum().cpu()


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else 0.0


def filter_spectrum(weight: Tensor) -> Tensor:
    """Return the singular values of the filter matrix, descending, in float32 or better."""
    W = filter_matrix(weight.detach())
    return torch.linalg.svdvals(W.float() if W.dtype in (torch.float16, torch.bfloat16) else W)
