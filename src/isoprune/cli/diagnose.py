"""Say whether a network is fit to be retrained, which layers are to blame if not, and what repairs restore.

MODEL is a record.json or the folder of a network in the store (runs/dense/<digest>), a folder that
isoprune prune or isoprune.save wrote, or a source: torchvision:NAME, timm:NAME, transformers:TYPE,
my_package.module:function. The measure is the singular values of the input-output Jacobian: exact, or
estimated with an error bar where exact values would take long. Repairs are tried on copies.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from isoprune.cli.work import error_console, output_console

SUMMARY = "say whether a network is fit to be retrained, and what repairs restore"
EXAMPLE = """\
  isoprune diagnose runs/runs/0123456789abcdef/record.json
  isoprune diagnose small --dense my_package.nets:trained --data digits --out diagnosis.html
  isoprune diagnose torchvision:resnet50 --weights trained.safetensors --data photos/
  isoprune diagnose my_package.nets:make_model --data '{name = "cifar10", size = 32}' --exact"""

FORMATS = (".html", ".json")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", metavar="MODEL", help="the network; see above")
    parser.add_argument(
        "--dense",
        metavar="DENSE",
        help="the network before pruning, of the same kinds (default: the store's)",
    )
    parser.add_argument("--stage", help="which network of a record (default: pruned)")
    given = parser.add_argument_group("what goes in")
    given.add_argument(
        "--data",
        metavar="DATA",
        help="a data set by name or table, a folder of images, your function, example or random",
    )
    given.add_argument(
        "--samples", type=int, metavar="N", help="how many inputs (default: 64, fewer where one takes long)"
    )
    given.add_argument("--weights", type=Path, metavar="FILE", help="of MODEL, if it is a source")
    given.add_argument("--dense-weights", type=Path, metavar="FILE", help="of DENSE, if it is a source")
    given.add_argument("--build", metavar="SOURCE", help="what makes the dense network of a saved folder")
    given.add_argument("--shape", metavar="1,3,224,224", help="of a source's input, batch first")
    given.add_argument("--input", metavar="NAME", help="differentiate by this: an input, or a layer's output")
    given.add_argument("--output", metavar="KEY", help="the output to differentiate, if there are several")
    given.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn (default: 0)")
    how = parser.add_argument_group("how it is measured, and what comes out")
    how.add_argument("--exact", action="store_true", help="exact singular values, however long it takes")
    how.add_argument(
        "--repairs",
        metavar="NAMES",
        help="tried on copies: names with commas, all or none (default: all, unless it is healthy)",
    )
    how.add_argument(
        "--out", type=Path, metavar="FILE", help="also one web page (.html), or the numbers (.json)"
    )


def run(args: argparse.Namespace) -> int:
    from isoprune.types.errors import IsopruneError, did_you_mean

    if args.samples is not None and args.samples < 1:
        raise IsopruneError(f"--samples {args.samples}: at least one input is measured. Write --samples 64.")
    if args.out is not None and args.out.suffix not in FORMATS:
        raise IsopruneError(f"--out {args.out} is neither .html nor .json. Write --out diagnosis.html.")
    if args.stage is not None:
        from isoprune.cli.diagnose_open import STAGES

        if args.stage not in STAGES:
            raise IsopruneError(f"Unknown stage {args.stage!r}.{did_you_mean(args.stage, STAGES)}")
    with error_console().status("Measuring"):
        subject, data, diagnosis = _diagnosed(args)
    from isoprune.cli.diagnose_told import tell, write

    tell(output_console(), subject, data, diagnosis)
    if args.out is not None:
        write(args.out, subject, data, diagnosis, args)
        output_console().print(f"Written: {args.out}", markup=False, soft_wrap=True)
    return 0


def _diagnosed(args: argparse.Namespace) -> tuple[Any, Any, Any]:
    from dataclasses import replace

    from isoprune.cli.diagnose_data import open_data, require_fit
    from isoprune.cli.diagnose_open import is_source, open_dense, open_subject
    from isoprune.cli.prune import read_shape
    from isoprune.isometry import diagnose, with_repairs
    from isoprune.isometry.effort import BUDGET
    from isoprune.pruning.pruned import as_pruned
    from isoprune.types import Plan
    from isoprune.verbs.diagnose import try_repairs

    common = {"shape": read_shape(args.shape), "seed": args.seed}
    build = args.build or (args.dense if is_source(args.dense) else None)
    subject = open_subject(args.network, stage=args.stage, build=build, weights=args.weights, **common)
    if args.dense is not None:
        before = open_dense(args.dense, build=build, weights=args.dense_weights, **common)
        subject = replace(subject, dense=before.model, notes=(*subject.notes, *before.notes))
    data = open_data(args.data, subject, samples=args.samples, seed=args.seed)
    where: dict[str, Any] = {"input": args.input, "output": _number_or_key(args.output)}
    require_fit(subject.model, data, subject.label, **where)
    if subject.dense is not None:
        require_fit(subject.dense, data, "The dense network", **where)
    diagnosis = diagnose(
        subject.model,
        data.measured,
        subject.dense,
        samples=args.samples,
        budget=math.inf if args.exact else BUDGET,
        repaired=subject.repaired,
        seed=args.seed,
        **where,
    )
    pruned = as_pruned(subject.model)
    if subject.dense is not None:
        pruned = replace(pruned, dense=subject.dense, plan=subject.plan or Plan())
    tried = try_repairs(
        pruned,
        [name for name in _repairs(args.repairs, diagnosis.verdict) if name not in subject.repaired],
        batches=data.training,
        seed=args.seed,
    )
    return subject, data, with_repairs(diagnosis, tried, data.measured, seed=args.seed, **where)


def _number_or_key(text: str | None) -> str | int | None:
    return int(text) if text is not None and text.lstrip("-").isdecimal() else text


def _repairs(text: str | None, verdict: str) -> list[str]:
    from isoprune.verbs.diagnose import every_repair

    if text == "none" or (text is None and verdict == "healthy"):
        return []
    if text in (None, "all"):
        return every_repair()
    return [name.strip() for name in text.split(",") if name.strip()]
