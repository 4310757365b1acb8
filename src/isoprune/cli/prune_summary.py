"""What `isoprune prune` prints of a pruned network: tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from isoprune.cli.console import output_console, say
from isoprune.cli.study_shown import network_table
from isoprune.types.tables import terminal

if TYPE_CHECKING:
    from isoprune.experiment.delivery import Delivery
    from isoprune.export import Source
    from isoprune.pruning import Pruned
    from isoprune.types.record import Record


def print_summary(source: Source, pruned: Pruned, directory: Path, *, seed: int) -> None:
    """Print what was removed, the proof, what had to stay and why, and how to load what was saved."""
    from isoprune.export.folder import WEIGHTS
    from isoprune.export.proof_text import frozen_in_words, odd_in_words, proof_in_words
    from isoprune.pruning.grains import read_grain
    from isoprune.pruning.summary import cost_table, units_in_words

    say(f"{type(source.model).__name__} ({source.text})")
    output_console().print(terminal(cost_table(pruned)))
    say(*(f"{words}." for words in units_in_words(pruned, "without --mask they are cut out")))
    if pruned.costs.latency:
        say(_latency_sentence(pruned.costs.latency, pruned.plan.request["ratio"]))
    say(*proof_in_words(pruned))
    if read_grain(pruned.plan.grain).whole:
        say(*frozen_in_words(pruned.graph))
    say(*odd_in_words(source.model, pruned.model))
    if source.drawn:
        say(f"The weights are random (seed {seed}). Give trained ones: --weights FILE.")
    size = (directory / WEIGHTS).stat().st_size
    dense = sum(t.nbytes for t in (*source.model.parameters(), *source.model.buffers()))
    say(
        f"Saved: {directory} ({WEIGHTS} {megabytes(size)}, dense {megabytes(dense)}; plan.json).",
        f"Load it: import isoprune, {source.imports}; "
        f'model = isoprune.load("{directory}", build=lambda: {source.code})',
        f"Prune it further: isoprune prune {quote(str(directory))}{build_option(source.text)} --ratio 0.3",
    )


def print_delivery(done: Delivery, folder: Path, source: str) -> None:
    """Print the result of a recipe, write its page, and suggest the next commands."""
    from isoprune.experiment.delivery import PAGE
    from isoprune.export.folder import PREDICT, WEIGHTS
    from isoprune.reporting import explain, report
    from isoprune.reporting.tables import latency

    page = report([done.record], folder / PAGE, title=f"{done.name}, pruned", lead=lead(done.record))
    console = output_console()
    console.print(terminal(network_table(done.record)))
    console.print(terminal(latency(done.record.latency)))
    onnx = "ONNX: not written, onnx is not installed: pip install 'isoprune[export]'."
    if done.onnx is not None:
        onnx = f"ONNX: {done.onnx['path']}, differs from torch by {done.onnx['max_abs_error']:.2g} at most."
    predicts = (done.network / PREDICT).is_file()
    size = (done.network / WEIGHTS).stat().st_size
    say(
        outcome(done.record),
        *([] if done.record.config["retrain"]["epochs"] else [without_retraining(done)]),
        *([done.because] if done.because else []),
        *explain([done.record])[:2],
        f"Network: {done.network} ({megabytes(size)})",
        onnx,
        *([f"Classify images: python {done.network / PREDICT} IMAGE ..."] if predicts else []),
        f"Page: {page}",
        "Next:",
        *(f"  {command}" for command in next_commands(source, folder)),
    )


def without_retraining(done: Delivery) -> str:
    """Return in one sentence what a pruned network that is not retrained was fitted on."""
    if not done.read:
        return "Not retrained, and no training image was looked at."
    return (
        f"Not retrained: {done.read:,} of {done.train:,} training images were looked at to choose and refit."
    )


def build_option(source: str) -> str:
    """Return the option that makes a network anew from ``source``, a name in its folder."""
    from isoprune.experiment.trusted_names import is_zoo

    return "" if ":" not in source or is_zoo(source) else f" --build {quote(source)}"


def next_commands(source: str, folder: Path) -> list[str]:
    """Return the commands that go on from a delivery, as they are typed."""
    place = f"{quote(str(folder))}{build_option(source)}"
    return [
        f"isoprune diagnose {place}",
        f"isoprune advise {place} --epochs 10",
        f"isoprune prune {place} --ratio 0.3",
    ]


def _latency_sentence(measured: Mapping[str, Any], ratio: float) -> str:
    return (
        f"Latency: requested {measured['request']:.0%} of the dense network's time, measured "
        f"{measured['share']:.1%} on {measured['backend']} ({measured['threads']} "
        f"thread{'s' * (measured['threads'] > 1)}) at ratio {ratio:.3f}."
    )


def outcome(record: Record) -> str:
    """Return in one sentence what pruning and retraining made of the dense network."""
    from isoprune.training.loop import PLAIN, Loop

    dense, last = record.network("dense"), record.networks[-1]
    assert dense is not None
    accuracies = (network.metrics["test_accuracy"] or 0.0 for network in (dense, last))
    result = (
        f"Test accuracy {' -> '.join(f'{a:.2%}' for a in accuracies)} with "
        f"{last.flops / dense.flops:.0%} of the FLOPs and "
        f"{last.nonzero / dense.nonzero:.0%} of the parameters."
    )
    how = record.config["retrain"]
    loop = Loop(how.get("precision", "full"), channels_last=how.get("channels_last", False))
    if loop != PLAIN:
        result += f" Steps {loop.in_words()}."
    if last.advice is None:
        return result
    given_up = "".join(f"; {lr:g} was tried and given up" for lr in last.advice["given_up"])
    probes = len(last.advice["probes"])
    found = f"of {probes} probed" if probes else "without a probe"
    by = " of AdamW" * (how.get("optimizer") == "adamw")
    return f"{result} Learning rate{by}: {last.advice['lr']:g}, {found}{given_up}."


def lead(record: Record) -> str:
    """Return what the page of a recipe begins with: accuracy, size, and time on each backend."""
    rows = [row for row in record.latency if row["model"] == "pruned" and row["gain"]]
    times = ", ".join(f"{row['gain']:.2g} times in {row['backend']}" for row in rows)
    return outcome(record) + (f" A forward of one sample is faster: {times}." if times else "")


def megabytes(size: int) -> str:
    """Return a size on the disk in words."""
    return f"{size / 1e6:.1f} MB"
