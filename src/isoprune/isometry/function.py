"""A network as the function of single samples whose Jacobian is taken."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

from isoprune.isometry import picks
from isoprune.isometry.chain import run
from isoprune.isometry.memory import Footprint, with_footprint
from isoprune.isometry.path import Path
from isoprune.isometry.picks import InputPick, Inputs, OutputPick
from isoprune.signals.modes import in_eval_mode
from isoprune.types import IsopruneError
from isoprune.types.seeded import lent_generators

_PROBED = 8  # samples run twice before anything is measured: even weak dropout shows in a few
_TOLERANCE = {
    torch.float32: 1e-3,
    torch.float64: 1e-8,
}  # relative; batch size alone moves outputs by far less

_COUPLED = (
    "Samples influence each other, so there is no Jacobian per sample: {why}. "
    "Use BatchNorm with track_running_stats=True, or take what couples the samples out of the forward."
)


@dataclass(frozen=True)
class Alone:
    r"""What the first sample gave on its own: a cotangent u of its outputs, :math:`J^\top u`, and its cost.

    A chain's J is a product of what is known, and its :math:`J^\top u` None.
    """

    cotangent: Tensor
    pulled: Tensor | None
    cost: Footprint


@dataclass(frozen=True)
class SampleFunction:
    """``y = f(x)``, sample by sample.

    ``x`` [samples, ...] is what is differentiated, ``f(x[rows], rows)`` the outputs [n, outputs] of the
    samples whose indices are ``rows``; an index may come more than once. ``constants`` are the addresses of
    the parameters' storages, ``kept`` the bytes of these and of x.
    """

    x: Tensor
    evaluate: Callable[[Tensor, Tensor], Tensor]
    outputs: int
    constants: frozenset[int]
    kept: int
    alone: Alone

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        return self.evaluate(x, rows)

    def rows(self, start: int, stop: int) -> Tensor:
        """Return the indices of the samples from ``start`` to ``stop``, as many as there are."""
        return torch.arange(start, min(stop, len(self.x)), device=self.x.device)

    def leaf(self, rows: Tensor) -> Tensor:
        """Return the samples ``rows`` as a fresh tensor to differentiate with respect to."""
        return self.x.index_select(0, rows).requires_grad_()


@contextlib.contextmanager
def sample_function(
    model: nn.Module,
    inputs: Inputs,
    *,
    input: InputPick = None,
    output: OutputPick = None,
    dtype: torch.dtype | None = None,
    differentiable_twice: bool = False,
    path: Path | None = None,
) -> Iterator[SampleFunction]:
    """Yield the network as a function of samples, on the model's device, its parameters held constant.

    Inside, parameters are detached copies in ``dtype`` and buffers clones, so neither the model nor its
    ``.grad`` can change; on leaving, random generators are put back and hooks taken off.

    Args:
        inputs: One tensor, or a tuple (positional) or mapping (keyword) of them; samples along dimension 0.
        input: What x is. None: the one floating tensor of the inputs. A key or index of the inputs: that one.
            The name of a submodule: that module's output (an embedding, a block), which is how integers go
            in.
        output: What y is. None: the output, if it is a tensor. A key, attribute or index of it, or a function
            of it, such as ``lambda out: out.logits[:, -1]``. All but dimension 0 is flattened.
        differentiable_twice: Attention by matrix products, since its fused forms have no second derivative.
        dtype: float32 or float64. None: float64 if a parameter or an input is, else float32.
        path: Sees what becomes of the first sample. Where that is a chain, whose every operation is known to
            act on samples one by one, that they replay the first sample is all that is checked.

    Raises:
        IsopruneError: Where a forward is not deterministic or samples influence each other; if
            x is of integers; if y does not depend on x, or holds NaN or infinity.
    """
    require_running_statistics(model)
    owned = [t for m in model.modules() for own in (m._parameters, m._buffers) for t in own.values()]
    tensors = [t for t in owned if t is not None]
    given = [t for t in pytree.tree_leaves(inputs) if isinstance(t, Tensor)]
    device = (tensors or given or [torch.empty(0)])[0].device
    work = dtype or (
        torch.float64 if any(t.dtype == torch.float64 for t in tensors + given) else torch.float32
    )
    if work not in _TOLERANCE:
        raise IsopruneError(
            f"dtype is {dtype}; Jacobians are computed in torch.float32 or torch.float64. Pass one of these."
        )

    def cast(t: Tensor) -> Tensor:
        # copy: detach alone shares memory, and a forward may write to its buffers.
        return t.detach().to(device, work if t.is_floating_point() else t.dtype, copy=True)

    with contextlib.ExitStack() as stack:
        stack.enter_context(in_eval_mode(model))
        stack.enter_context(with_gradients(device))
        if differentiable_twice:
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        state = stack.enter_context(replaced_tensors(model, cast))
        args, kwargs = picks.arguments(pytree.tree_map_only(Tensor, cast, inputs))

        def forward(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return model(*args, **kwargs)

        x, evaluate = picks.pick_input(model, forward, args, kwargs, input, stack)

        def outputs(z: Tensor, rows: Tensor) -> Tensor:
            y = picks.pick_output(evaluate(z, rows), output)
            if y.ndim == 0 or y.shape[0] != len(z):
                raise IsopruneError(
                    f"The output has shape {tuple(y.shape)} for {len(z)} samples; samples must come along "
                    "dimension 0. Pick one that has them with output=, a key, an index or a function of the "
                    "output."
                )
            return y.flatten(1) if y.ndim > 1 else y[:, None]

        if len(x) == 0:
            raise IsopruneError(f"inputs of shape {tuple(x.shape)} hold no sample. Pass at least one.")
        constants = frozenset(t.untyped_storage().data_ptr() for t in state)
        y, alone = _alone(x, outputs, constants, path or Path(), _TOLERANCE[work])
        if alone.pulled is not None:
            _require_the_same(x, outputs, y, _TOLERANCE[work])
        kept = sum(t.nbytes for t in [x, *state])
        yield SampleFunction(x, outputs, y.shape[1], constants, kept, alone)


@contextlib.contextmanager
def with_gradients(device: torch.device) -> Iterator[None]:
    """Record gradients in the types that tensors have, whatever surrounds; generators are put back."""
    off = torch.autocast(device.type, enabled=False)
    with torch.inference_mode(False), torch.enable_grad(), off, lent_generators(device=device):
        yield


def require_running_statistics(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise IsopruneError(_COUPLED.format(why=f"{name!r} normalises by the batch's own statistics"))


def _alone(
    x: Tensor,
    outputs: Callable[[Tensor, Tensor], Tensor],
    constants: frozenset[int],
    path: Path,
    tolerance: float,
) -> tuple[Tensor, Alone]:
    """Return the first sample's outputs, and what is worth keeping of its forward and backward."""
    first = x[:1].clone().requires_grad_()
    rows = torch.zeros(1, dtype=torch.long, device=x.device)
    y, cost = with_footprint(lambda: path.arrive(outputs(path.follow(first), rows)), constants)
    # No two weights are the same: outputs that sum to a constant, as probabilities do, would show nothing.
    u = torch.linspace(1, 2, y.shape[1], dtype=y.dtype, device=y.device)[None]
    # Every operation of a chain was seen, and none of them draws or mixes samples: replaying one is enough.
    if path.complete and y.requires_grad:
        again, scale = run(path.links, x[:1]), tolerance * float(y.detach().abs().max())
        if _furthest(again, y.detach()) <= scale:
            return y.detach(), Alone(u, None, cost)
    path.complete = False
    pulled = torch.autograd.grad(y, first, u, allow_unused=True)[0] if y.requires_grad else None
    if pulled is None:
        raise IsopruneError(
            "The outputs do not depend on the input: the forward detaches it, rounds it, or runs under "
            "torch.no_grad. Remove that, or pick another place with input= and output=."
        )
    return y.detach(), Alone(u, pulled, cost)


def _require_the_same(
    x: Tensor, outputs: Callable[[Tensor, Tensor], Tensor], alone: Tensor, tolerance: float
) -> None:
    """Raise unless y is finite, and the same twice and alone."""
    rows = torch.arange(min(_PROBED, len(x)), device=x.device).repeat(2)
    with torch.no_grad():  # without a graph, which would take more memory than what is to come
        both = outputs(x[rows], rows)
        require_finite(both, "The outputs hold")
        y, again = both.chunk(2)
        scale = tolerance * float(y.abs().max())
        same = _furthest(y, again) <= scale
        if same and _furthest(y[:1], alone) <= scale:
            return
        # Noise may be the same for all of a batch: two batches tell it from samples that are coupled.
        if same and _furthest(both, outputs(x[rows], rows)) <= scale:
            raise IsopruneError(
                _COUPLED.format(why="the first one alone gives another output than in a batch")
            )
    raise IsopruneError(
        "The forward is not deterministic: the same inputs gave two outputs. Look for F.dropout without "
        "training=self.training, or noise drawn in the forward, and switch it off."
    )


def _furthest(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())  # NaN if one of them is: not <= anything


def require_finite(t: Tensor, who: str) -> None:
    if t.numel() and not math.isfinite(float(t.abs().max())):  # a third of the price of isfinite
        raise IsopruneError(
            f"{who} NaN or infinity. Check the inputs, and the weights: training may have diverged (lower "
            "its lr)."
        )


@contextlib.contextmanager
def replaced_tensors(model: nn.Module, copy: Callable[[Tensor], Tensor]) -> Iterator[list[Tensor]]:
    """Yield a ``copy`` of each parameter and buffer, which the model runs on until it is left.

    What ``torch.func.functional_call`` does for one forward, once for all of them; tied stay tied.

    Raises:
        IsopruneError: For a module whose tensors cannot be exchanged.
    """
    if isinstance(model, (torch.jit.ScriptModule, nn.DataParallel)):
        raise IsopruneError(
            f"model is a {type(model).__name__}, whose parameters cannot be held constant. Pass the "
            "nn.Module that it was made from."
        )
    copies: dict[int, Tensor] = {}
    exchanged: list[tuple[dict[str, Any], dict[str, Tensor]]] = []
    try:
        for module in model.modules():
            own: Any  # torch says a table of parameters holds parameters; for a while it does not
            for own in (module._parameters, module._buffers):
                before = {name: t for name, t in own.items() if t is not None}
                exchanged.append((own, before))
                for name, t in before.items():
                    if id(t) not in copies:
                        copies[id(t)] = copy(t)
                    own[name] = copies[id(t)]
        yield list(copies.values())
    finally:
        for own, before in exchanged:
            own.update(before)
