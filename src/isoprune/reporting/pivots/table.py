"""Plain text in columns, and the same in Markdown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Plain text in columns; the first ``words`` columns are names, the others numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1


def markdown(table: Table) -> str:
    """Return a table in Markdown, numbers aligned to the right."""
    rules = ["---"] * table.words + ["---:"] * (len(table.columns) - table.words)
    lines = [table.columns, tuple(rules), *(tuple(_escaped(word) for word in row) for row in table.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _escaped(word: str) -> str:
    for special in "\\|<`*_":
        word = word.replace(special, f"\\{special}")
    return " ".join(word.split())
