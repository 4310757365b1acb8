"""`isoprune prune`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from isoprune.cli.console import error_console, output_console, progress, say
from isoprune.cli.options import Settings, check_choice, check_seed, listed, read_shape
from isoprune.cli.prune_summary import megabytes, print_delivery, print_summary
from isoprune.experiment.network_names import is_folder, saved_name
from isoprune.experiment.recipe import EPOCHS
from isoprune.experiment.step_types import Pruning
from isoprune.experiment.validation import read
from isoprune.types.errors import IsopruneError
from isoprune.types.training_options import OptimizerName

BACKENDS = "eager,compile,onnxruntime"
_Amount = Parameter(group=Group("How much goes (one of these)", sort_key=1))
_Which = Parameter(group=Group("Which units go", sort_key=2))
_Retraining = Parameter(group=Group("Retraining", sort_key=3))
_Input = Parameter(group=Group("What goes in", sort_key=4))
_Output = Parameter(group=Group("What comes out", sort_key=5))


def prune(
    source: str,
    /,
    *,
    ratio: Annotated[float | None, _Amount] = None,
    flops: Annotated[float | None, _Amount] = None,
    parameters: Annotated[float | None, _Amount] = None,
    latency: Annotated[float | None, _Amount] = None,
    only: Annotated[tuple[str, ...], _Amount, Parameter(show_default=False)] = (),
    criterion: Annotated[str | None, _Which] = None,
    grain: Annotated[str, _Which] = "channel",
    mask: Annotated[bool, _Which] = False,
    scope: Annotated[str, _Which] = "all",
    allocation: Annotated[str, _Which] = "uniform",
    floor: Annotated[int, _Which] = 1,
    cap: Annotated[float, _Which] = 0.9,
    round_to: Annotated[int, _Which] = 1,
    data: Annotated[str | None, _Retraining] = None,
    epochs: Annotated[int, _Retraining] = EPOCHS,
    dense_epochs: Annotated[int, _Retraining] = 0,
    optimizer: Annotated[OptimizerName, _Retraining] = "sgd",
    settings: Annotated[Settings, _Retraining] = (),
    build: Annotated[str | None, _Input] = None,
    weights: Annotated[Path | None, _Input] = None,
    shape: Annotated[str | None, _Input] = None,
    seed: Annotated[int, _Input] = 0,
    out: Annotated[Path | None, _Output] = None,
    onnx: Annotated[bool, _Output] = False,
    latency_report: Annotated[bool | str, _Output, Parameter(show_default=False)] = False,
    latency_backend: Annotated[str | None, _Output] = None,
    threads: Annotated[int, _Output] = 1,
) -> None:
    """Make a network smaller, prove that the small one is right, and save it; with --data, retrain it too.

    With --data, all of it is done by the default recipe: prune, find the learning rate, retrain with the
    dense network as teacher, export to ONNX, time, and draw the page. Stopped, the same command goes on from
    there.

    SOURCE is torchvision:NAME, timm:NAME, transformers:MODEL_TYPE, or my_package.module:function for your
    own (called without arguments; it returns the network, or a pair of network and example inputs); or a
    folder that isoprune prune or isoprune.save wrote, to be pruned further. With --data, also a network of
    isoprune methods model.
    The saved directory holds safetensors and JSON only, and loads into the class that the network has now.

    example:
      isoprune prune my_package.nets:trained --data photos/ --flops 0.5      prune, retrain, export
      isoprune prune resnet_small --data fashion_mnist --dense-epochs 10 --ratio 0.5
      isoprune prune my_package.nets:trained --data photos/ --ratio 0.3 --epochs 0   prune, refit, export
      isoprune prune torchvision:resnet50 --ratio 0.5                        half of the filters go
      isoprune prune torchvision:resnet50 --flops 0.5 --round-to 8 --onnx    half of the work stays
      isoprune prune timm:vit_tiny_patch16_224 --ratio 0.3 --weights trained.safetensors --out small
      isoprune prune torchvision:resnet18 --only 'layer[12].*.conv1=0.6' --only 'layer4.*=0.2'
      isoprune prune my_package.nets:make_model --shape 1,1,28,28 --latency 0.5 --latency-report
      isoprune prune resnet50-pruned --ratio 0.3                             a further round

    Args:
        source: The network; see above.
        ratio: The fraction of filters removed.
        flops: The fraction of multiply-adds that may stay.
        parameters: The fraction of parameters that may stay.
        latency: The fraction of the measured time that may stay.
        only: PATTERN=R, the ratio of layers by name, last match wins; others: --ratio (may be repeated).
        criterion: See isoprune methods criterion; by default l1_norm, and with --data reconstruction where
            that takes no more than a half of retraining. Or zeros, without a ratio: channels that are zero.
        grain: What goes as one: channel, head, filter, kernel, vector, weight, 2:4 (needs no ratio), 4x4.
            All but channels and heads are held at zero by masks.
        mask: Hold whole channels at zero, too, and change no shape.
        scope: all, or internal: inside of blocks.
        allocation: uniform; global: all compete; error; or erk, by the shapes of tensors (of weights).
        floor: No layer keeps fewer channels.
        cap: The most that a layer loses when all compete.
        round_to: Keep multiples of so many channels; 8 runs fast.
        data: Retrain on a data set, by name or table, or a folder: {root = "photos", mean = [...], ...}
        epochs: Of retraining; 0: prune and refit on the data, and train nothing.
        dense_epochs: Train the dense network first, so long.
        optimizer: Of retraining, and of --dense-epochs.
        build: Source that makes the dense network of a saved folder.
        weights: A file .safetensors, or a torch file of tensors only.
        shape: Of the example input, batch first: 1,3,224,224.
        seed: Of random weights and inputs.
        out: Directory where it is saved (NAME-pruned).
        onnx: Also as model.onnx, compared in onnxruntime.
        latency_report: Time dense and pruned network on backends (eager,compile,onnxruntime).
        latency_backend: What --latency is measured on (onnxruntime if it is installed, else eager).
        threads: Of the timed networks.
    """
    given = {"ratio": ratio, "flops": flops, "parameters": parameters, "latency": latency}
    given = {name: value for name, value in given.items() if value is not None}
    zeros = criterion == "zeros"  # looks for channels, scores none
    target = {} if (":" in grain or zeros) and not (given or only) else _target(given, only)
    sizes = read_shape(shape)
    pruning = {"grain": grain, "scope": scope, "allocation": allocation}
    pruning |= {"round_to": round_to, "floor": floor, "cap": cap}
    pruning |= {} if criterion is None else {"criterion": criterion}
    budget = {name: value for name, value in target.items() if name != "latency"}
    if not zeros:
        read(Pruning, {**budget, **pruning}, "prune")
        check_choice("criterion", criterion, "--criterion")
    elif data is not None:
        raise IsopruneError(
            "--criterion zeros removes channels that are zero already, and nothing need be retrained. Leave "
            "out --data."
        )
    check_choice("data", data, "--data")
    check_seed(seed)
    if data is None:
        _check_without_data(source, criterion)
    backends = listed(BACKENDS if latency_report is True else latency_report or None)
    if data is None:
        if settings or dense_epochs or optimizer != "sgd":
            raise IsopruneError("--set, --dense-epochs and --optimizer are for retraining. Give --data too.")
        more = {"mask": mask, "seed": seed, "backend": latency_backend, "threads": threads}
        opening = {"shape": sizes, "weights": weights, "seed": seed, "build": build}
        return _alone(source, target, pruning | more, opening, out, backends, onnx=onnx)
    if optimizer != "sgd" and not (epochs or dense_epochs):
        raise IsopruneError("Nothing is trained with --epochs 0. Leave out --optimizer.")
    if mask:
        raise IsopruneError("--mask does not go with --data: write a recipe of steps, and isoprune run it.")
    kind = source
    if is_folder(source):
        if weights is not None:
            raise IsopruneError(f"{source} is a saved network with its own weights. Leave out --weights.")
        kind = saved_name(source)
    elif build is not None:
        raise IsopruneError(f"--build is for a saved folder, and {source} is a source. Leave it out.")
    if only:
        raise IsopruneError(
            "--only does not go with --data. Give one --ratio, --flops, --parameters or --latency; or prune "
            "by name alone."
        )
    try:
        with progress() as stage:
            stage("loading torch")
            from isoprune.experiment.delivery import deliver
            from isoprune.experiment.delivery_request import Request, TimingRequest
            from isoprune.export.onnx import needed
            from isoprune.export.sources import short_name

            if onnx:
                needed()
            file = None if weights is None else str(weights)
            request = Request(
                kind, data, target, pruning, epochs, dense_epochs, seed, sizes, file,
                settings, build, optimizer,
            )  # fmt: skip
            folder = out or Path(f"{short_name(source)}-pruned")
            done = deliver(
                request, folder, timing=TimingRequest(backends, latency_backend, threads), on_stage=stage
            )
            stage("drawing the page")
            return print_delivery(done, folder, build or source)
    except KeyboardInterrupt:
        error_console().print("\nWhat is finished is kept: the same command goes on from there.")
        raise


def _check_without_data(source: str, criterion: str | None) -> None:
    """Refuse before anything is built what cannot go without ``--data``."""
    from isoprune.experiment.catalogue import catalogue
    from isoprune.experiment.choice import read_choice

    if source in catalogue("model"):
        raise IsopruneError(
            f"{source} is made for a data set. Give one: --data digits, and --dense-epochs 10 to train it "
            "first."
        )
    name = "l1_norm" if criterion is None else read_choice(criterion, "--criterion", "l1_norm").name
    entry = catalogue("criterion").get(name)
    if entry is not None and "data" in entry.method.needs:
        raise IsopruneError(
            f"Criterion {name!r} looks at data. Give training data: --data NAME_OR_FOLDER, with --epochs 0 "
            "to prune without retraining."
        )


def _target(given: dict[str, float], only: Sequence[str]) -> dict[str, Any]:
    """Return the one keyword of `isoprune.prune` that says how much goes."""
    if len(given) > 1 or (only and given.keys() - {"ratio"}):
        got = [f"--{name}" for name in given] + ["--only"] * bool(only)
        raise IsopruneError(
            f"{' and '.join(got)} do not go together. Give one of them; --only goes with --ratio."
        )
    if not given and not only:
        raise IsopruneError(
            "Say how much is to go: --ratio 0.5, --flops 0.5, --parameters 0.5 or --latency 0.5."
        )
    if not only:
        return given
    patterns = {"*": given["ratio"]} if given else {}
    for text in only:
        pattern, _, ratio = text.rpartition("=")
        try:
            patterns[pattern] = float(ratio)
        except ValueError:
            pattern = ""
        if not pattern:
            raise IsopruneError(f"--only {text} is no PATTERN=RATIO. Write --only 'layer1.*.conv1=0.6'.")
    return {"ratio": patterns}


def _alone(
    name: str,
    target: dict[str, Any],
    options: dict[str, Any],
    opening: dict[str, Any],
    out: Path | None,
    backends: list[str],
    *,
    onnx: bool,
) -> None:
    """Prune without data: save the network, and say what came of it."""
    with progress() as stage:
        stage("loading torch")
        import isoprune
        from isoprune.export.backends import check_backends
        from isoprune.export.folder import ONNX, check_target
        from isoprune.export.onnx import needed

        # All that can be known to fail fails before the work, not after it.
        check_backends([*backends, *filter(None, [options["backend"]])], options["threads"])
        if onnx:
            needed()
        stage(f"building {name}")
        source, network = _open_network(name, **opening)
        directory = out or Path(f"{source.name}-pruned")
        check_target(directory)
        stage("finding the channels, removing them, proving it")
        result = isoprune.prune(network, source.example_inputs, **target, **options)
        stage("saving")
        isoprune.save(result, directory, dense=source.model, source=source.text)
    print_summary(source, result, directory, seed=options["seed"])
    if onnx:
        with progress() as stage:
            stage("exporting to ONNX")
            done = isoprune.export_onnx(result.model, directory / ONNX, source.example_inputs)
        batch = "any batch size" if done["dynamic_batch"] else f"batch fixed: {done['fixed_batch']}"
        say(
            f"ONNX: {done['path']} ({megabytes(done['bytes'])}, {batch}); onnxruntime differs from torch by "
            f"{done['max_abs_error']:.2g}, {done['relative_error']:.1g} of the largest output."
        )
    if backends:
        with progress() as stage:
            report = isoprune.latency(
                {"dense": source.model, "pruned": result.model},
                source.example_inputs,
                backends=backends,
                threads=options["threads"],
                on_backend=lambda backend: stage(f"timing on {backend}"),
            )
        from isoprune.reporting.tables import latency
        from isoprune.types.tables import terminal

        output_console().print(terminal(latency(report.as_rows())))
        say(str(report))


def _open_network(name: str, *, build: str | None, weights: Path | None, **how: Any) -> tuple[Any, Any]:
    """Return the source of the dense network, and the network that is pruned: it, or a folder's."""
    from isoprune.export import open_source

    if not is_folder(name):
        if build is not None:
            raise IsopruneError(f"--build is for a saved folder, and {name} is a source. Leave it out.")
        source = open_source(name, weights=weights, **how)
        return source, source.model
    from isoprune.experiment.saved_models import open_pruned

    if weights is not None:
        raise IsopruneError(f"{name} is a saved network with its own weights. Leave out --weights.")
    return open_pruned(name, build=build, **how)
