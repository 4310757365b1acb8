"""Options that several verbs share: their names, help texts and checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from isoprune.types.errors import IsopruneError

LARGEST = 10**10  # numbers in one input

Settings = Annotated[
    tuple[str, ...],
    Parameter("--set", help="Change a key, as --set retrain.lr=0.1 (may be repeated).", show_default=False),
]
StorePlace = Annotated[
    str,
    Parameter(
        "--store",
        help="Where results are kept and found again: a directory, or a URL such as s3://bucket/runs.",
    ),
]
Jobs = Annotated[
    int | None,
    Parameter("--jobs", help="Runs at once, one thread each (1, or on a cluster one for each CPU)."),
]
Executor = Annotated[
    Literal["local", "ray"],
    Parameter(help="Where the runs go: processes of this machine, or the nodes of a Ray cluster."),
]
Address = Annotated[
    str, Parameter("--address", help="Of the Ray cluster: auto, HOST:6379 or ray://HOST:10001.")
]
# The command line itself, which `main` supplies to say how to go on.
Again = Annotated[str, Parameter(parse=False)]


def listed(text: str | None) -> list[str]:
    """Return the words of a list with commas."""
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def read_shape(text: str | None) -> list[int] | None:
    """Return the sizes of ``--shape``.

    Raises:
        IsopruneError: If it is no list of whole numbers above 0.
    """
    if text is None:
        return None
    sizes = text.replace("x", ",").split(",")
    if not all(s.strip().isdecimal() and int(s) > 0 for s in sizes):
        raise IsopruneError(
            f"--shape {text} is no list of sizes. Write --shape 1,3,224,224, the batch first."
        )
    if math.prod(map(int, sizes)) > LARGEST:
        raise IsopruneError(f"--shape {text} has more than {LARGEST:,} numbers, which no memory holds.")
    return [int(s) for s in sizes]


def check_choice(kind: str, text: str | None, flag: str) -> None:
    """Raise if an option names an unknown method or data set, or has an unknown option."""
    from isoprune.experiment.catalogue import check
    from isoprune.experiment.choice import read_choice

    own = ("random", "example") if kind == "data" else ()
    if text is not None and text not in own and not (kind == "data" and Path(text).is_dir()):
        example = "one_cycle" if kind == "schedule" else "digits"
        check(kind, read_choice(text, flag, f'{{name = "{example}"}}'), flag)


def check_out(out: Path | None, endings: Sequence[str], example: str) -> None:
    """Raise unless ``--out`` has an ending that can be written."""
    if out is not None and out.suffix not in endings:
        raise IsopruneError(
            f"--out {out} is none of {', '.join(endings)}. Write for example --out {example}."
        )


def check_samples(samples: int | None) -> None:
    """Raise unless at least one sample is to be measured."""
    if samples is not None and samples < 1:
        raise IsopruneError(f"--samples {samples}: at least one input is measured. Write --samples 64.")
    if samples is not None and samples > 10**6:
        raise IsopruneError(
            f"--samples {samples}: a million inputs are measured at most. Write --samples 64."
        )


def check_seed(seed: int) -> None:
    """Raise unless torch's generators take the seed."""
    from isoprune.experiment.step_types import Seed
    from isoprune.experiment.validation import read

    read(Seed, seed, "seed")
