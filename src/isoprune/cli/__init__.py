"""The command line: `isoprune VERB`, one verb a file.

A verb is a function of its own name: its signature is what is parsed, its docstring is the help, and what
it returns is the exit code. It imports what needs torch when it runs: help must not wait for that.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Container, Sequence
from importlib import import_module
from inspect import BoundArguments

import isoprune
from isoprune.types.errors import IsopruneError, did_you_mean
from isoprune.types.limits import is_memory, of_disk, of_memory
from isoprune.types.printable import printable

# Their lines of the overview stand here, so that it is printed without loading any of them.
VERBS = {
    "demo": "the whole story on a small data set, in a minute",
    "run": "run one experiment from a TOML file",
    "study": "run a grid of experiments on several processes, or a cluster",
    "prune": "make a network smaller, prove it, and save it",
    "diagnose": "say whether a network is fit to be retrained, and what repairs restore",
    "forecast": "fit the forecast of retrained accuracy on a study, and judge it",
    "advise": "say which learning rate fits a network and a budget",
    "sanity": "say whether a pruning method beats chance at its own ratios",
    "compare": "compare methods fairly, over seeds, or say why that cannot be done",
    "reproduce": "redo a table or figure of the papers, beside the published numbers",
    "report": "make a web page, a table and figures of finished runs",
    "methods": "list what a config can name",
}

MENDABLE = 2  # exit code of everything that the user can put right
INTERRUPTED = 130
LONGEST = 2000  # characters of a line that says what is wrong: what was written may stand in it
WIDTH = 110  # of help that goes into a file

OVERVIEW = """\
usage: isoprune VERB ...

Make a trained PyTorch network smaller, see what pruning did to its trainability (the singular
values of its input-output Jacobian), repair it, retrain it, and prove every claim.

verbs:
{verbs}

start here:
  isoprune demo                                     the whole story on a small data set, in a minute
  isoprune study studies/lr_effect.toml --jobs 2    the paper's experiment on Fashion-MNIST
  isoprune report runs --out page.html              one web page of all that is in the store

Each verb explains itself: isoprune study --help. Version: isoprune --version
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for what the user can put right, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words[:1] in ([], ["-h"], ["--help"]):
            lines = (f"    {verb:<12}{line}" for verb, line in VERBS.items())
            sys.stdout.write(OVERVIEW.format(verbs="\n".join(lines)))
            return 0
        if words[:1] in (["-V"], ["--version"]):
            sys.stdout.write(f"isoprune {isoprune.__version__}\n")
            return 0
        if words[0] not in VERBS:
            return _refuse(f"Unknown verb {words[0]!r}.{did_you_mean(words[0], VERBS)}")
        return _run(*words)
    except IsopruneError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        sys.stderr.write("isoprune: stopped.\n")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # Of a disk that nobody thought of: a name too long, a link to itself, a right that is missing.
        return _refuse(of_disk(error))
    except (MemoryError, RuntimeError) as error:
        if not is_memory(error):
            raise
        return _refuse(of_memory(error))


def _run(verb: str, *words: str) -> int:
    """Parse ``words`` by the signature of the verb's function, and call it."""
    function, bound, supplied = parse(verb, *words)
    # A verb that can be interrupted says how it goes on: by this very command.
    again = {"again": shlex.join(["isoprune", verb, *words])} if "again" in supplied else {}
    return function(*bound.args, **bound.kwargs, **again) or 0


def parse(verb: str, *words: str) -> tuple[Callable[..., int | None], BoundArguments, Container[str]]:
    """Return the verb's function, its arguments as ``words`` say them, and what the caller supplies.

    Raises:
        IsopruneError: For words that its signature does not know.
    """
    from cyclopts import App, CycloptsError, Parameter
    from rich.console import Console

    app = App(
        name=f"isoprune {verb}",
        help_formatter="plain",
        help_format="plaintext",
        version_flags=(),
        console=Console(width=None if os.isatty(1) else WIDTH),
        default_parameter=Parameter(negative=(), allow_repeating=True),
    )
    app.default(getattr(import_module(f"isoprune.cli.{verb}"), verb))
    try:
        return app.parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise IsopruneError(f"{error} See: isoprune {verb} --help") from None


def _refuse(message: str) -> int:
    sys.stderr.write(f"isoprune: {printable(message)[:LONGEST]}\n")
    return MENDABLE
