"""Make a network smaller, prove that the small one is right, and save it; with --data, retrain it too.

With --data, all of it is done by the default recipe: prune, find the learning rate, retrain with the dense
network as teacher, export to ONNX, time, and draw the page. Stopped, the same command goes on from there.

SOURCE is torchvision:NAME, timm:NAME, transformers:MODEL_TYPE, or my_package.module:function for your
own (called without arguments; it returns the network, or a pair of network and example inputs). With
--data, also a network of isoprune methods model.
The saved directory holds safetensors and JSON only, and loads into the class that the network has now.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isoprune.cli.prune_told import latency_table, listed, megabytes, tell
from isoprune.cli.work import add_set, error_console, output_console
from isoprune.experiment.recipe import EPOCHS
from isoprune.types.errors import IsopruneError

SUMMARY = "make a network smaller, prove it, and save it"
EXAMPLE = """\
  isoprune prune my_package.nets:trained --data photos/ --flops 0.5      prune, retrain, export
  isoprune prune resnet_small --data fashion_mnist --dense-epochs 10 --ratio 0.5
  isoprune prune torchvision:resnet50 --ratio 0.5                        half of the filters go
  isoprune prune torchvision:resnet50 --flops 0.5 --round-to 8 --onnx    half of the work stays
  isoprune prune timm:vit_tiny_patch16_224 --ratio 0.3 --weights trained.safetensors --out small
  isoprune prune torchvision:resnet18 --only 'layer[12].*.conv1=0.6' --only 'layer4.*=0.2'
  isoprune prune my_package.nets:make_model --shape 1,1,28,28 --latency 0.5 --latency-report"""

BACKENDS = "eager,compile,onnxruntime"
TARGETS = ("ratio", "flops", "parameters", "latency")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="the network; see above")
    how_much = parser.add_argument_group("how much goes (one of these)")
    how_much.add_argument("--ratio", type=float, metavar="R", help="the fraction of filters removed")
    how_much.add_argument(
        "--flops", type=float, metavar="F", help="the fraction of multiply-adds that may stay"
    )
    how_much.add_argument(
        "--parameters", type=float, metavar="F", help="the fraction of parameters that may stay"
    )
    how_much.add_argument(
        "--latency", type=float, metavar="F", help="the fraction of the measured time that may stay"
    )
    how_much.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN=R",
        help="the ratio of layers by name, last match wins; others: --ratio (may be repeated)",
    )
    which = parser.add_argument_group("which channels go")
    which.add_argument(
        "--criterion", default="l1_norm", metavar="NAME", help="see isoprune methods (default: %(default)s)"
    )
    which.add_argument(
        "--scope", default="all", metavar="WHERE", help="all, or internal: inside of blocks (default: all)"
    )
    which.add_argument(
        "--allocation",
        default="uniform",
        metavar="HOW",
        help="uniform, or global: all compete (default: uniform)",
    )
    which.add_argument(
        "--floor", type=int, default=1, metavar="N", help="no layer keeps fewer than N channels (default: 1)"
    )
    which.add_argument(
        "--cap", type=float, default=0.9, metavar="R", help="the most that a layer loses when all compete"
    )
    which.add_argument(
        "--round-to", type=int, default=1, metavar="N", help="keep multiples of N channels; 8 runs fast"
    )
    given = parser.add_argument_group("retraining")
    given.add_argument(
        "--data", metavar="DATA", help="a data set by name or table, or a folder of images: retrain on it"
    )
    given.add_argument(
        "--epochs", type=int, default=EPOCHS, metavar="N", help="of retraining (default: %(default)s)"
    )
    given.add_argument(
        "--dense-epochs", type=int, default=0, metavar="N", help="train the dense network first, so long"
    )
    add_set(given)
    given = parser.add_argument_group("what goes in")
    given.add_argument(
        "--weights", type=Path, metavar="FILE", help=".safetensors, or a torch file of tensors only"
    )
    given.add_argument("--shape", metavar="1,3,224,224", help="of the example input, batch first")
    given.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of random weights and inputs (default: 0)"
    )
    out = parser.add_argument_group("what comes out")
    out.add_argument("--out", type=Path, metavar="DIR", help="where it is saved (default: NAME-pruned)")
    out.add_argument("--onnx", action="store_true", help="also as DIR/model.onnx, compared in onnxruntime")
    out.add_argument(
        "--latency-report",
        nargs="?",
        const=BACKENDS,
        metavar="BACKENDS",
        help=f"time dense and pruned network (default: {BACKENDS}; compiling takes a minute)",
    )
    out.add_argument("--threads", type=int, default=1, metavar="N", help="of the timed networks (default: 1)")
    out.add_argument(
        "--latency-backend",
        metavar="NAME",
        help="what --latency is measured on (default: onnxruntime if it is installed, else eager)",
    )


def run(args: argparse.Namespace) -> int:
    how = _how_much(args)  # before torch is loaded
    shape = read_shape(args.shape)
    if args.data is not None:
        return _by_recipe(args, how, shape)
    if args.settings or args.dense_epochs:
        raise IsopruneError("--set and --dense-epochs are for retraining. Give --data too.")
    console = output_console()
    with _progress() as stage:
        stage("loading torch")
        from isoprune.export import export_onnx, latency, open_source, save
        from isoprune.export.backends import check_backends
        from isoprune.export.folder import ONNX, check_target
        from isoprune.export.onnx import needed

        # All that can be known to fail is told before the work, not after it.
        backends = listed(args.latency_report)
        check_backends([*backends, *filter(None, [args.latency_backend])], args.threads)
        if args.onnx:
            needed()

        stage(f"building {args.source}")
        source = open_source(args.source, shape=shape, weights=args.weights, seed=args.seed)
        directory = args.out or Path(f"{source.name}-pruned")
        check_target(directory)
        result = _pruned(args, source, how, stage)
        stage("saving")
        save(result, directory, dense=source.model, source=args.source)
    tell(console, args, source, result, directory)
    if args.onnx:
        with _progress() as stage:
            stage("exporting to ONNX")
            done = export_onnx(result.model, source.example_inputs, directory / ONNX)
        batch = "any batch size" if done["dynamic_batch"] else f"batch fixed: {done['fixed_batch']}"
        console.print(
            f"ONNX: {done['path']} ({megabytes(done['bytes'])}, {batch}); onnxruntime differs from torch by "
            f"{done['max_abs_error']:.2g}, {done['relative_error']:.1g} of the largest output.",
            markup=False,
            soft_wrap=True,
        )
    if args.latency_report:
        with _progress() as stage:
            report = latency(
                {"dense": source.model, "pruned": result.model},
                source.example_inputs,
                backends=backends,
                threads=args.threads,
                on_backend=lambda backend: stage(f"timing on {backend}"),
            )
        console.print(latency_table(report.as_rows()))
        console.print(str(report), markup=False, soft_wrap=True)
    return 0


def _by_recipe(args: argparse.Namespace, how: dict[str, Any], shape: list[int] | None) -> int:
    try:
        with _progress() as stage:
            stage("loading torch")
            from isoprune.cli.prune_recipe import carry_out

            return carry_out(args, how, shape, stage)
    except KeyboardInterrupt:
        error_console().print("\nWhat is finished is kept: the same command goes on from there.")
        raise


def _how_much(args: argparse.Namespace) -> dict[str, Any]:
    """Return the one keyword of `prune` that says how much goes."""
    given = {name: getattr(args, name) for name in TARGETS if getattr(args, name) is not None}
    if len(given) > 1 or (args.only and given.keys() - {"ratio"}):
        got = [f"--{name}" for name in given] + ["--only"] * bool(args.only)
        raise IsopruneError(
            f"{' and '.join(got)} do not go together. Give one of them; --only goes with --ratio."
        )
    if not given and not args.only:
        raise IsopruneError(
            "Say how much is to go: --ratio 0.5, --flops 0.5, --parameters 0.5 or --latency 0.5."
        )
    if not args.only:
        return given
    patterns = {"*": given["ratio"]} if given else {}
    for text in args.only:
        pattern, equals, ratio = text.rpartition("=")
        try:
            patterns[pattern] = float(ratio)
        except ValueError:
            equals = ""
        if not equals or not pattern:
            raise IsopruneError(f"--only {text} is no PATTERN=RATIO. Write --only 'layer1.*.conv1=0.6'.")
    return {"ratio": patterns}


def read_shape(text: str | None) -> list[int] | None:
    if text is None:
        return None
    sizes = text.replace("x", ",").split(",")
    if not all(s.strip().isdecimal() and int(s) > 0 for s in sizes):
        raise IsopruneError(
            f"--shape {text} is no list of sizes. Write --shape 1,3,224,224, the batch first."
        )
    return [int(s) for s in sizes]


def _pruned(args: argparse.Namespace, source: Any, how: dict[str, Any], stage: Callable[[str], None]) -> Any:
    from isoprune.export import prune_in_time
    from isoprune.export.target import MEASUREMENTS
    from isoprune.verbs import prune

    def at(**much: Any) -> Any:
        return prune(
            source.model,
            source.example_inputs,
            criterion=args.criterion,
            scope=args.scope,
            allocation=args.allocation,
            round_to=args.round_to,
            floor=args.floor,
            cap=args.cap,
            seed=args.seed,
            **much,
        )

    if "latency" not in how:
        stage("finding the channels, removing them, proving it")
        return at(**how)
    stage("timing the dense network")
    return prune_in_time(
        lambda ratio: at(ratio=ratio),
        source.model,
        source.example_inputs,
        how["latency"],
        backend=args.latency_backend,
        threads=args.threads,
        on_backend=lambda backend: stage(f"pruning, to time it on {backend}"),
        on_try=lambda n, ratio, left: stage(
            f"network {n} of at most {MEASUREMENTS}: ratio {ratio:.3f} takes {left:.0%} of the time"
        ),
    )


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show what is being done and for how long, on stderr; gone when it is done."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    console = error_console()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)

        def stage(text: str) -> None:
            progress.update(task, description=text)

        yield stage
