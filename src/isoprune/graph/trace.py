"""Any module -> its graph: every way through it that is known is recorded, and one ledger kept of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.graph.answers import freeze_answers
from isoprune.graph.cloning import clone_sharing, named_modules, runnable_copy, tensor_names
from isoprune.graph.code_branches import batch_sizes_compared, has_training_branch
from isoprune.graph.draws import seeded_draws
from isoprune.graph.entries import EntryPoint, as_call, entries_of
from isoprune.graph.fixed_kernels import with_fixed_kernels
from isoprune.graph.gathering import Gathering
from isoprune.graph.groups import Graph, build
from isoprune.graph.inputs import Sizes, copied_inputs, drawn_inputs
from isoprune.graph.isolation import isolated
from isoprune.graph.layouts import Layout
from isoprune.graph.memory import memory_of
from isoprune.graph.module_names import module_names, unchanged
from isoprune.graph.outputs import leaves, tensors_of
from isoprune.graph.paths import TooManyWays, Ways, every_way
from isoprune.graph.reads import NeedsValues, Reads
from isoprune.graph.recording import Node, Pass, Recording
from isoprune.graph.refusal import refusal
from isoprune.graph.sizes import SizeWatch, named_sizes
from isoprune.graph.tracer import Tracer
from isoprune.graph.unrun import freeze_unread, freeze_unrun
from isoprune.types import IsopruneError, Network, module_of
from isoprune.types.collector import uncollected
from isoprune.types.seeded import seeded


def trace(
    network: Network,
    example_inputs: Any,
    *,
    also: Iterable[Any] = (),
    unrun: str = "keep",
    outputs: Sequence[str | int] = (),
) -> Graph:
    """Return the channel groups of a network, what is frozen and why.

    Recorded are the forward on ``example_inputs`` and each of ``also``; every branch on a value both ways;
    batch sizes that code compares with; and train mode, where it does something else. Cost: a forward each
    in which nothing is computed, and if the network reads its own values, one that is; memory: the labels
    of the activations.

    Args:
        network: Any module, or what holds one; read, never written to.
        example_inputs: What its forward takes: a tensor, a tuple of arguments, or a dict of keywords.
        also: Further calls: inputs of forward, or pairs (name of a method, its inputs).
        unrun: Of parameters that took no part in any of these calls: whether channels that they could read,
            by their number, are kept ("keep"), or go without regard to them ("ignore").
        outputs: Which outputs of the forward count, by key, name or index; channels of others may go.

    Raises:
        IsopruneError: If the forward does not run on ``example_inputs``.
    """
    if unrun not in ("keep", "ignore"):
        raise IsopruneError(f"unrun is 'keep' or 'ignore', not {unrun!r}.")
    model = module_of(network)
    entries = entries_of(model, example_inputs, also, outputs)
    with isolated(), uncollected():
        try:
            return _traced(model, entries, unrun, values=False)
        except NeedsValues:
            return _traced(model, entries, unrun, values=True)


def _traced(
    model: nn.Module,
    entries: tuple[EntryPoint, ...],
    unrun: str,
    *,
    values: bool,
    layouts: Mapping[str, Layout] | None = None,
) -> Graph:
    clone = runnable_copy(model)
    tracer = Tracer(tensor_names(clone), layouts=layouts or {}, attributes=_plain_tensors(clone))
    passes: list[Pass] = []
    ways = Ways(tracer.ledger, tracer.names.keys())
    with named_sizes(clone):
        for entry in entries:
            try:
                passes += _recorded(tracer, clone, entry, ways, values)
            except (NeedsValues, IsopruneError):
                raise
            except Exception as error:
                first = entry is entries[0]
                raise refusal(clone_sharing(clone), entry, error, tracer.nodes, further=not first) from error
        batch_sizes = batch_sizes_compared(tracer.size_readers)
        further = [_of_batch(e, n) for n in batch_sizes for e in entries if _is_flat(e)]
        if _unrun(tracer) or has_training_branch(model):
            further += [entry.trained() for entry in entries]
        for entry in further:
            passes += _if_it_runs(tracer, clone, entry, ways, values)
    if tracer.wishes.keys() - tracer.layouts.keys():
        layouts = {**tracer.wishes, **tracer.layouts}
        return _traced(model, entries, unrun, values=values, layouts=layouts)
    idle = _unrun(tracer)
    freeze_unread(tracer.ledger, passes)
    freeze_answers(tracer.ledger, passes)
    if unrun == "keep":
        freeze_unrun(tracer.ledger, passes, idle)
    names = {key: name for key, (name, _) in tracer.names.items()}
    recording = Recording(passes, tracer.tensors(), tracer.claims, names, tuple(idle))
    return build(recording, tracer.ledger)


def _recorded(tracer: Tracer, clone: nn.Module, entry: EntryPoint, ways: Ways, values: bool) -> list[Pass]:
    """Return the passes of one call with all its branches, without those that run what ``ways`` ran."""

    def record_one(reads: Reads) -> Pass:
        nodes, output, constants = record(clone, entry, tracer, reads)
        what = "the network's output" if entry.method == "forward" else f"the output of {entry.method}"
        came_out: list[int] = []
        for tensor in (leaf for leaf in leaves(output).values() if isinstance(leaf, Tensor)):
            tracer.read_positions(tensor, what)
            tracer.ledger.freeze(tracer.planes(tensor), what)
            came_out.append(tracer.facts.key(tensor))
        return Pass(entry, nodes, reads.open_ones(), values, constants, came_out)

    def glance(reads: Reads) -> Pass:
        light = Tracer(tracer.names, watch=False, attributes=tracer.attributes)
        return Pass(entry, record(clone, entry, light, reads)[0])

    passes = []
    for one, decided in every_way(record_one, glance, ways, values=values):
        passes.append(one)
        if decided is not None:
            tracer.ledger.freeze(decided.gathered, f"{decided.where} branches on them")
    return passes


def _is_flat(entry: EntryPoint) -> bool:
    """Tell whether no argument is a list of samples, whose number is none of its tensors' sizes."""
    args, kwargs = as_call(entry.inputs)
    given = (*args, *kwargs.values())
    parts = [part for a in given for part in (a.values() if isinstance(a, dict) else (a,))]
    return not any(isinstance(part, list | tuple | dict) for part in parts)


def _of_batch(entry: EntryPoint, size: int) -> EntryPoint:
    return replace(entry, inputs=drawn_inputs(entry.inputs, Sizes(size), seeded(0)))


def _if_it_runs(tracer: Tracer, clone: nn.Module, entry: EntryPoint, ways: Ways, values: bool) -> list[Pass]:
    """Return the passes of a call that nobody gave; none if it does not run (train mode may want targets)."""
    try:
        return _recorded(tracer, clone, entry, ways, values)
    except (NeedsValues, TooManyWays):
        raise
    except Exception:
        return []


def _unrun(tracer: Tracer) -> dict[str, torch.Size]:
    """Return the parameters that took no part, and their shapes."""
    return {
        name: tensor.shape
        for name, tensor in tracer.names.values()
        if isinstance(tensor, nn.Parameter) and not tracer.took_part(tensor)
    }


def record_way(network: nn.Module, inputs: Any, outputs: Sequence[str | int] = ()) -> Graph:
    """Return the graph of one forward in eval mode: of the way that these inputs take, nothing else."""
    layouts: Mapping[str, Layout] = {}
    values = False
    with isolated(), uncollected():
        while True:
            clone = runnable_copy(network)
            tracer = Tracer(tensor_names(clone), layouts=layouts)
            entry, reads = EntryPoint(inputs, outputs=tuple(outputs)), Reads(values=values)
            try:
                with named_sizes(clone):  # constants that take on channels are found by their sizes
                    nodes, _, constants = record(clone, entry, tracer, reads)
            except NeedsValues:
                if values:
                    raise
                values = True
                continue
            if not tracer.wishes.keys() - tracer.layouts.keys():
                break
            layouts = {**tracer.wishes, **tracer.layouts}
    one = Pass(entry, nodes, reads.open_ones(), values, constants)
    names = {key: name for key, (name, _) in tracer.names.items()}
    return build(Recording((one,), tracer.tensors(), (), names), tracer.ledger)


def _plain_tensors(clone: nn.Module) -> dict[int, str]:
    """Return what the tensors are, by memory, that modules hold without saying so to torch."""
    found: dict[int, str] = {}
    for name, module in named_modules(clone):
        for attribute, value in vars(module).items():
            if attribute.startswith("_") or not isinstance(value, Tensor | list | tuple | dict):
                continue
            place = f"{name}.{attribute}" if name else attribute
            parts: dict[str, Any] = {}
            if not isinstance(value, Tensor):
                items = value.items() if isinstance(value, dict) else enumerate(value)
                parts = {f"{place}[{key!r}]": one for key, one in items}
            alone = [t for t in (value, *parts.values()) if isinstance(t, Tensor)]
            as_buffer = f"{place}, a plain attribute (as a buffer, by register_buffer, it would follow)"
            found |= {memory_of(t): as_buffer for t in alone}
            for where, one in parts.items():
                if isinstance(one, nn.Module):
                    kind = type(value).__name__
                    what = f"{where}, a module in a plain {kind} (in an nn.ModuleList it would follow)"
                    found |= {memory_of(t): what for t in one.parameters()}
    return found


def record(
    model: nn.Module,
    entry: EntryPoint,
    tracer: Tracer,
    reads: Reads,
    constants: Sequence[int] | None = None,
) -> tuple[list[Node], Any, tuple[int, ...]]:
    """Return the operations, the output and the labelled constants of one call of ``model`` under ``tracer``.

    The network's tensors are read for their shapes only, unless values are needed. ``tracer.nodes`` is filled
    as the forward goes, so it says how far one came that did not end.
    """
    nodes: list[Node] = []
    tracer.nodes, tracer.reads, tracer.gathering = nodes, reads, Gathering(nodes)
    tracer.begin()
    reads.clock = nodes.__len__
    inputs = copied_inputs(entry.inputs)  # a forward may write into them
    for tensor in tensors_of(inputs):
        tracer.take_input(tensor)
    watch = SizeWatch(tracer, constants)
    around = (
        torch.no_grad(),
        with_fixed_kernels(),
        unchanged(model),
        module_names(model, tracer.modules),
        seeded_draws(),
    )
    with ExitStack() as stack:
        for context in (*around, watch, tracer):
            stack.enter_context(context)
        output = entry.run(model, inputs)
    return nodes, output, tuple(watch.labelled)
