"""Names say what they are of in the words of the field, not in a dialect of our own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "isoprune"
# Participles that say that something was done, and not what it is: "told" of what, to whom?
DIALECT = {
    "told", "retold", "untold", "found", "asked", "held", "silent", "claimed", "fits", "chosen", "opened",
    "steady",
}  # fmt: skip


def names_in(file: Path) -> Iterator[tuple[str, int]]:
    """Yield the name of a module and of every function, class and method in it, with its line."""
    yield file.stem, 1
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno


def words_of(name: str) -> set[str]:
    """Return the words of a name: of `HeldOut` and of `held_out` both times "held" and "out"."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def test_no_name_is_of_the_dialect():
    named = ((file, *one) for file in sorted(PACKAGE.rglob("*.py")) for one in names_in(file))
    found = [f"{f.relative_to(PACKAGE)}:{n} {name}" for f, name, n in named if words_of(name) & DIALECT]
    assert not found


def test_a_class_has_its_name_alone():
    """But for `Prune`: a step of a recipe, and the callback of each library whose training loop prunes."""
    homes: dict[str, list[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and node.name != "Prune":
                homes.setdefault(node.name, []).append(str(file.relative_to(PACKAGE)))
    assert not {name: files for name, files in homes.items() if len(files) > 1}


def test_words_of_a_name():
    assert words_of("HeldOut") == words_of("_held_out") == {"held", "out"}
    assert words_of("JSVEstimate") == {"jsv", "estimate"}
    assert words_of("profits") == {"profits"}
