"""Plain text in columns; the same in Markdown, and for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.table import Table as RichTable
from rich.text import Text


@dataclass(frozen=True)
class Table:
    """Plain text in columns; the first ``words`` columns are names, the others numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1


def markdown(table: Table) -> str:
    """Return a table in Markdown, numbers aligned to the right."""
    rules = ["---"] * table.words + ["---:"] * (len(table.columns) - table.words)
    heads, *rows = (tuple(map(_escaped, row)) for row in (table.columns, *table.rows))
    lines = [heads, tuple(rules), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def terminal(table: Table, *, ruled: bool = False) -> RichTable:
    """Return a table for the terminal, numbers to the right and never broken; with a rule below the heads."""
    made = RichTable(box=None)
    if ruled:
        made = RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for place, column in enumerate(table.columns):
        number = place >= table.words
        made.add_column(Text(column), justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in table.rows:
        # Text, not str: a name such as "[red]" is not markup.
        made.add_row(*map(Text, row))
    return made


def prose(sentence: str) -> str:
    """Return a sentence, a heading or a caption for Markdown: no name in it makes a tag or a link."""
    return _escaped(sentence, "\\|<[`")


def _escaped(word: str, specials: str = "\\|<[`*_") -> str:
    for special in specials:
        word = word.replace(special, f"\\{special}")
    return " ".join(word.split())
