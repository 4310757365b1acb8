"""`isoprune advise`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter
from msgspec import structs

from isoprune.cli.console import error_console, output_console, progress, say
from isoprune.cli.options import check_choice, check_out, check_samples, check_seed, read_shape
from isoprune.experiment.network_names import check_network, is_delivery, is_record
from isoprune.experiment.step_types import (
    Count,
    Distilling,
    Epochs,
    Fraction,
    NotNegative,
    Positive,
    TrainingConfig,
)
from isoprune.experiment.validation import read
from isoprune.types.errors import IsopruneError
from isoprune.types.files import write_output
from isoprune.types.training_options import OptimizerName

if TYPE_CHECKING:
    from isoprune.experiment.advice_record import Question
    from isoprune.training.rates import Advice, Probe

_Training = Parameter(group=Group("The training that is advised on", sort_key=1))
_Input = Parameter(group=Group("What goes in", sort_key=2))


def advise(
    network: str,
    /,
    *,
    dense: str | None = None,
    stage: str | None = None,
    out: Path | None = None,
    epochs: Annotated[int, _Training],
    steps: Annotated[int | None, _Training] = None,
    batch: Annotated[int, _Training] = 100,
    schedule: Annotated[str, _Training] = "one_cycle",
    optimizer: Annotated[OptimizerName, _Training] = "sgd",
    momentum: Annotated[float, _Training] = 0.9,
    weight_decay: Annotated[float, _Training] = 1e-4,
    distill: Annotated[str | None, _Training] = None,
    rates: Annotated[str | None, _Training] = None,
    data: Annotated[str | None, _Input] = None,
    samples: Annotated[int | None, _Input] = None,
    weights: Annotated[Path | None, _Input] = None,
    dense_weights: Annotated[Path | None, _Input] = None,
    build: Annotated[str | None, _Input] = None,
    shape: Annotated[str | None, _Input] = None,
    seed: Annotated[int, _Input] = 0,
) -> None:
    """Say which learning rate fits a network and a budget of retraining, before that budget is spent.

    NETWORK is what isoprune diagnose takes: a record.json (its repaired network) or the folder of a network
    in the store, a folder that isoprune prune or isoprune.save wrote (of prune --data the last network),
    or a source. At each of a few rates the network is trained for a small part of the steps, with the whole
    schedule run through in them; the largest rate that is as good as the best is advised. Only training data
    is used, a tenth of it to judge by. Finished probes are kept: an interrupted command goes on.

    example:
      isoprune advise runs/runs/0123456789abcdef/record.json --epochs 30
      isoprune advise small --build my_package.nets:make_model --data digits --epochs 30 --schedule cosine
      isoprune advise torchvision:resnet50 --weights pruned.safetensors --data photos/ --epochs 10 --batch 64
      isoprune advise small --dense my_package.nets:trained --distill 0.9,4 --data digits --epochs 30 \\
          --rates 0.01,0.03,0.1 --out advice.html

    Args:
        network: The network to be retrained; see above.
        dense: The network before pruning, of the same kinds (the store's).
        stage: Which network of a record (repaired).
        out: Also a web page (.html), the numbers (.json), or the chart (.svg, .png).
        epochs: Its length.
        steps: At most so many steps in all.
        batch: Samples of a step.
        schedule: By name or table; see isoprune methods schedule.
        optimizer: Of every step.
        momentum: Of SGD; of AdamW the first of its betas.
        weight_decay: Of SGD added to the gradient, of AdamW decoupled.
        distill: WEIGHT,TEMPERATURE to learn from the dense network too, as 0.9,4.
        rates: Those that are probed (0.003,0.01,0.03,0.1,0.3; of AdamW 1e-4,3e-4,1e-3,3e-3,0.01).
        data: A data set by name or table, or a folder of one folder of images a class.
            A folder as your network saw it: {root = "photos", mean = [...], std = [...], resize = 256};
            also crop, interpolation, transform = "pkg:function" or "timm:NAME", on_error = "skip".
        samples: Of the Jacobian (64 or fewer).
        weights: File of weights of NETWORK, if it is a source.
        dense_weights: File of weights of the dense network, if it is a source.
        build: Source that makes the dense network of a saved folder.
        shape: Of a source's input, batch first: 1,3,224,224.
        seed: Of what is drawn.
    """
    check_out(out, (".html", ".json", ".svg", ".png"), "advice.html")
    check_samples(samples)
    check_seed(seed)
    training = TrainingConfig(
        epochs=read(Epochs, epochs, "--epochs"),
        steps=None if steps is None else read(Count, steps, "--steps"),
        batch=read(Count, batch, "--batch"),
        optimizer=optimizer,
        momentum=read(Fraction, momentum, "--momentum"),
        weight_decay=read(NotNegative, weight_decay, "--weight-decay"),
        distill=_distilling(distill),
    )
    probed, sizes = _rates(rates), read_shape(shape)
    check_choice("schedule", schedule, "--schedule")
    check_network(network, stage)
    check_choice("data", data, "--data")
    console = error_console()
    with console.status("Measuring the damage"):
        from isoprune.experiment.advice_record import open_question
        from isoprune.experiment.choice import read_choice
        from isoprune.experiment.named_network import open_network

        training = structs.replace(
            training, schedule=read_choice(schedule, "--schedule", '{name = "one_cycle", rise = 0.3}')
        )
        opened = open_network(
            network,
            stage=stage or ("repaired" if is_record(network) and not is_delivery(Path(network)) else None),
            dense=dense,
            build=build,
            shape=sizes,
            weights=weights,
            dense_weights=dense_weights,
            seed=seed,
        )
        question = open_question(opened, data, training, rates=probed, samples=samples, seed=seed)
    advice = _answered(question)
    from isoprune.experiment.advice_record import advice_record
    from isoprune.reporting.advice_words import worded

    record = worded(advice_record(question, advice, {"network": network, "dense": dense}))
    _print(record)
    if out is not None:
        _write(out, record)
        say(f"Written: {out}")


def _answered(question: Question) -> Advice:
    """Return the advice, with a line of progress; probes that were kept are not run again."""
    from isoprune.experiment.advice_record import answer

    console, rates = error_console(), len(question.rates)
    left = rates - len(question.known)
    if damage := question.cache.damage():
        console.print(damage, markup=False, highlight=False, soft_wrap=True)
    if left < rates:
        console.print(f"{rates - left} of {rates} probes were kept and are not run again.")
    done = 0

    def report_probe(probe: Probe) -> None:
        nonlocal done
        done += 1
        end = "diverged" if probe.metric_value is None else f"accuracy {probe.metric_value:.1%}"
        show(f"rate {probe.lr:g}: {end}; {done} of at most {left}")
        if not console.is_terminal:
            console.print(
                f"rate {probe.lr:g}: {end} after {probe.steps} steps", markup=False, highlight=False
            )

    try:
        with progress() as show:
            # Which rates come next, and how many, depends on how the first ones end.
            show(f"probing the first of at most {left} rates")
            return answer(question, on_probe=report_probe)
    except KeyboardInterrupt:
        console.print(
            f"\nStopped. {len(question.known)} of {rates} probes are kept; the same command goes on with the "
            "next."
        )
        raise


def _print(record: dict[str, Any]) -> None:
    """Print the advice in lines to copy, the probes, and why."""
    from isoprune.reporting import advice_words as words
    from isoprune.types.tables import terminal

    say(record["network"], f"Advised: {words.headline(record)}")
    if not record["learns"]:
        say(words.verdict(record))
    say(*(f"  {name:<13} {line}" for name, line in record["copy"].items()))
    output_console().print(terminal(words.probe_table(record)))
    say(*record["reasons"], *record["doubts"], *record["provisos"])


def _write(file: Path, record: dict[str, Any]) -> None:
    if file.suffix == ".html":
        from isoprune.reporting import advice_page

        advice_page(record, file)
    elif file.suffix == ".json":
        write_output(json.dumps(record, indent=1, allow_nan=False), file)
    else:
        from isoprune.reporting import advice_figures, write_figure
        from isoprune.reporting import advice_words as words

        write_figure(advice_figures.accuracies(record), file, title=words.headline(record))


def _rates(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    rates = _numbers(text)
    if rates is None or any(not lr > 0 for lr in rates) or rates != sorted(set(rates)):
        raise IsopruneError(
            f"--rates {text} is no list of rates above 0, each larger than the last. Write for example "
            "--rates 0.003,0.01,0.03."
        )
    return tuple(read(Positive, lr, "--rates") for lr in rates)


def _distilling(text: str | None) -> Distilling | None:
    if text is None:
        return None
    found = _numbers(text)
    if found is None or len(found) != 2:
        raise IsopruneError(
            f"--distill {text} is no weight and temperature. Write for example --distill 0.9,4."
        )
    return read(Distilling, {"weight": found[0], "temperature": found[1]}, "--distill")


def _numbers(text: str) -> list[float] | None:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        return None
