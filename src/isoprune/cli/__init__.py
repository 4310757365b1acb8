"""The command line: `isoprune VERB`, one verb a file.

A verb's module has SUMMARY, EXAMPLE, arguments(parser) and run(args) -> exit code, and imports what
needs torch inside run: `isoprune --help` must not wait for it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import isoprune
from isoprune.types.errors import did_you_mean

VERBS = ("demo", "run", "study", "prune", "diagnose", "advise", "compare", "reproduce", "report", "methods")

MENDABLE = 2  # exit code of everything that the user can put right
INTERRUPTED = 130

DESCRIPTION = """\
Make a trained PyTorch network smaller, see what pruning did to its trainability (the singular
values of its input-output Jacobian), repair it, retrain it, and prove every claim."""

EPILOG = """\
start here:
  isoprune demo                                     the whole story on a small data set, in a minute
  isoprune study studies/lr_effect.toml --jobs 2    the paper's experiment on Fashion-MNIST
  isoprune report runs --out page.html              one web page of all that is in the store

Each verb explains itself: isoprune study --help"""


class _Parser(argparse.ArgumentParser):
    """argparse, with one line and a suggestion instead of the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(MENDABLE, f"isoprune: {message}. See: {self.prog} --help\n")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    parser = _Parser(
        prog="isoprune",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action="version", version=f"isoprune {isoprune.__version__}")
    verbs = parser.add_subparsers(metavar="VERB", title="verbs", required=True, parser_class=_Parser)
    for name in VERBS:
        verb = import_module(f"isoprune.cli.{name}")
        sub = verbs.add_parser(
            name,
            help=verb.SUMMARY,
            description=verb.__doc__,
            epilog=f"example:\n{verb.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        verb.arguments(sub)
        sub.set_defaults(run=verb.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for what the user can put right, 130 for Ctrl-C."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and not argv[0].startswith("-") and argv[0] not in VERBS:
        print(f"isoprune: Unknown verb {argv[0]!r}.{did_you_mean(argv[0], VERBS)}", file=sys.stderr)  # noqa: T201
        return MENDABLE
    try:
        args = make_parser().parse_args(argv)
    except SystemExit as end:
        return int(end.code or 0)
    # "their_module:function" is looked for where the user stands, as `python -m` would.
    if (here := os.getcwd()) not in sys.path:  # noqa: PTH109
        sys.path.append(here)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("isoprune: stopped.", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ValueError as error:
        from isoprune.types import IsopruneError  # late: it imports torch

        if not isinstance(error, IsopruneError):
            raise
        print(f"isoprune: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return MENDABLE
