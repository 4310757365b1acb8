"""Say which learning rate fits a network and a budget of retraining, before that budget is spent.

MODEL is what isoprune diagnose takes: a record.json (its repaired network) or the folder of a network in
the store, a folder that isoprune prune or isoprune.save wrote, or a source. At each of a few rates the
network is trained for a small part of the steps, with the whole schedule run through in them; the largest
rate that is as good as the best is advised. Only training data is used, a tenth of it to judge by.
Finished probes are kept: an interrupted command goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from isoprune.cli.work import error_console, output_console

SUMMARY = "say which learning rate fits a network and a budget"
EXAMPLE = """\
  isoprune advise runs/runs/0123456789abcdef/record.json --epochs 30
  isoprune advise small --build my_package.nets:make_model --data digits --epochs 30 --schedule cosine
  isoprune advise torchvision:resnet50 --weights pruned.safetensors --data photos/ --epochs 10 --batch 64
  isoprune advise small --dense my_package.nets:trained --distill 0.9,4 --data digits --epochs 30 \\
      --rates 0.01,0.03,0.1 --out advice.html"""

FORMATS = (".html", ".json", ".svg", ".png")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", metavar="MODEL", help="the network to be retrained; see above")
    parser.add_argument(
        "--dense",
        metavar="DENSE",
        help="the network before pruning, of the same kinds (default: the store's)",
    )
    parser.add_argument("--stage", help="which network of a record (default: repaired)")
    training = parser.add_argument_group("the training that is advised on")
    training.add_argument("--epochs", type=int, required=True, metavar="N", help="its length")
    training.add_argument("--steps", type=int, metavar="N", help="at most so many steps in all")
    training.add_argument(
        "--batch", type=int, default=100, metavar="N", help="samples of a step (default: %(default)s)"
    )
    training.add_argument(
        "--schedule",
        default="one_cycle",
        metavar="NAME",
        help="by name or table, see isoprune methods schedule (default: %(default)s)",
    )
    training.add_argument("--momentum", type=float, default=0.9, metavar="M", help="(default: %(default)s)")
    training.add_argument(
        "--weight-decay", type=float, default=1e-4, metavar="W", help="(default: %(default)s)"
    )
    training.add_argument(
        "--distill", metavar="WEIGHT,TEMPERATURE", help="to learn from the dense network too, as 0.9,4"
    )
    training.add_argument(
        "--rates", metavar="0.01,0.1", help="those that are probed (default: 0.003,0.01,0.03,0.1,0.3)"
    )
    given = parser.add_argument_group("what goes in")
    given.add_argument(
        "--data",
        metavar="DATA",
        help="a data set by name or table, or a folder of one folder of images a class",
    )
    given.add_argument("--samples", type=int, metavar="N", help="of the Jacobian (default: 64 or fewer)")
    given.add_argument("--weights", type=Path, metavar="FILE", help="of MODEL, if it is a source")
    given.add_argument("--dense-weights", type=Path, metavar="FILE", help="of DENSE, if it is a source")
    given.add_argument("--build", metavar="SOURCE", help="what makes the dense network of a saved folder")
    given.add_argument("--shape", metavar="1,3,224,224", help="of a source's input, batch first")
    given.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn (default: 0)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="also a web page (.html), the numbers (.json), or the chart (.svg, .png)",
    )


def run(args: argparse.Namespace) -> int:
    from isoprune.cli.advise_read import read_recipe
    from isoprune.types.errors import IsopruneError, did_you_mean

    if args.out is not None and args.out.suffix not in FORMATS:
        raise IsopruneError(
            f"--out {args.out} is none of {', '.join(FORMATS)}. Write for example --out advice.html."
        )
    if args.samples is not None and args.samples < 1:
        raise IsopruneError(f"--samples {args.samples}: at least one input is measured. Write --samples 64.")
    recipe = read_recipe(args)  # before torch is loaded
    console = error_console()
    with console.status("Measuring the damage"):
        from isoprune.cli.diagnose_open import STAGES

        if args.stage is not None and args.stage not in STAGES:
            raise IsopruneError(f"Unknown stage {args.stage!r}.{did_you_mean(args.stage, STAGES)}")
        from isoprune.cli.advise_task import open_task

        task = open_task(args, recipe)
    from isoprune.cli.advise_probes import probed
    from isoprune.cli.advise_told import as_record, tell, write

    record = as_record(task, probed(task, console), args)
    tell(output_console(), record)
    if args.out is not None:
        write(args.out, record)
        output_console().print(f"Written: {args.out}", markup=False, soft_wrap=True)
    return 0
