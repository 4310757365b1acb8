"""A table as text: Markdown, LaTeX with booktabs, CSV."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Callable, Sequence

from isoprune.comparison import text
from isoprune.reporting.pivots.pivot import Label, Pivot
from isoprune.types.tables import markdown, prose

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{special: f"\\{special}" for special in "&%$#_{}"},
    "–": "--",
    "±": r"$\pm$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)


def as_markdown(pivot: Pivot) -> str:
    """Return the table with a line of what all runs share above and the notes below."""
    notes = "\n".join(f"- {prose(note)}" for note in pivot.notes)
    parts = [prose(_shared(pivot)), markdown(pivot.table()).rstrip("\n"), notes]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_latex(pivot: Pivot) -> str:
    r"""Return a ``tabular`` for ``\usepackage{booktabs}``; what all share and the notes are comments.

    Columns of several words are grouped under ``\cmidrule`` s, and a label that repeats is left out.
    """
    words = len(pivot.rows)
    lines = [f"% {' '.join(line.split())}" for line in (_shared(pivot), *pivot.notes) if line]
    lines.append(f"\\begin{{tabular}}{{@{{}}{'l' * words}{'c' * len(pivot.heads)}@{{}}}}")
    lines.append(r"\toprule")
    lines += _heads(pivot)
    lines.append(r"\midrule")
    above: Label = ("",) * words
    for side in pivot.sides:
        # Below itself a label says nothing, unless one to its left is new.
        new = next((i for i in range(words) if side[i] != above[i]), words)
        shown = [escaped(word) if i >= new else "" for i, word in enumerate(side)]
        if words > 1 and new == 0 and any(above):
            lines.append(r"\addlinespace")
        lines.append(_line([*shown, *(_latex_cell(*pivot.written(side, head)) for head in pivot.heads)]))
        above = side
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def _heads(pivot: Pivot) -> list[str]:
    """Return the lines of heads: one for each word of the columns, groups ruled off."""
    if not pivot.columns:
        return [_line([*map(escaped, pivot.rows), escaped(pivot.value)])]
    words, lines = len(pivot.rows), []
    for level in range(len(pivot.columns)):
        last = level == len(pivot.columns) - 1
        names = [escaped(row) if last else "" for row in pivot.rows]
        if last:
            lines.append(_line([*names, *(escaped(head[level]) for head in pivot.heads)]))
            continue
        place, rules = words + 1, []
        for group, members in itertools.groupby(pivot.heads, key=lambda head: head[: level + 1]):
            n = len(list(members))
            names.append(f"\\multicolumn{{{n}}}{{c}}{{{escaped(group[-1])}}}")
            rules.append(f"\\cmidrule(lr){{{place}-{place + n - 1}}}")
            place += n
        lines += [_line(names), " ".join(rules)]
    return lines


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(mean: str, spread: str) -> str:
    if mean == text.MISSING:
        return "--"
    inner = _mathematics(mean) + (f" \\pm {_mathematics(spread)}" if spread else "")
    return f"${inner}$"


def _mathematics(number: str) -> str:
    return re.sub(r"e(-?\d+)$", r" \\times 10^{\1}", number).replace("−", "-").replace("∞", r"\infty")


def escaped(word: str) -> str:
    """Return a word as LaTeX prints it, no character of it a command."""
    return "".join(_LATEX.get(character, character) for character in " ".join(word.split()))


def as_csv(pivot: Pivot) -> str:
    """Return one line for every cell with runs, as programs read them: ten digits, fractions not percent.

    Columns: the words of rows and columns, n, mean, std, both ends of the 95 % interval, the seeds. What one
    seed cannot tell is empty.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    numbers = (pivot.value, "std", "low95", "high95")
    writer.writerow([*map(cell, (*pivot.rows, *pivot.columns)), "n", *map(cell, numbers), "seeds"])
    for side, head in itertools.product(pivot.sides, pivot.heads):
        found = pivot.summary(side, head)
        if found.n:
            numbers = [found.mean, found.std, *found.interval]
            exact = ["" if math.isnan(number) else f"{number:.10g}" for number in numbers]
            seeds = " ".join(map(str, sorted(pivot.cells[side, head])))
            writer.writerow([*map(cell, (*side, *head)), found.n, *exact, seeds])
    return file.getvalue()


def cell(word: str) -> str:
    """Return a word as a cell that no spreadsheet takes for a formula."""
    return word if not word.startswith(("=", "+", "-", "@")) or _NUMBER.fullmatch(word) else f"'{word}"


def _shared(pivot: Pivot) -> str:
    return "; ".join(f"{word} {value}" for word, value in pivot.common.items())


FORMATS: dict[str, Callable[[Pivot], str]] = {"markdown": as_markdown, "latex": as_latex, "csv": as_csv}
