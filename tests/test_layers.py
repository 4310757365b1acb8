"""Who may import whom: downwards only, as the design says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "isoprune"

LAYERS = (
    ("__main__",),
    ("__init__",),  # the public names
    ("cli",),
    ("reproduction",),
    ("reporting",),
    ("comparison",),
    ("experiment",),
    ("integrations",),  # callbacks of other libraries' training loops
    ("verbs",),  # what `isoprune.NAME` calls: each ties a few folders together
    ("methods", "models", "data"),
    ("export",),
    ("training", "isometry"),
    ("pruning",),
    ("signals",),
    ("graph",),
    ("linalg", "forecast"),
    ("types",),
)
DEPTH = {name: depth for depth, names in enumerate(LAYERS) for name in names}


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """Yield the folder (or file) of isoprune that each import of ``file`` names, and its line."""
    parts = ("isoprune", *file.relative_to(PACKAGE).with_suffix("").parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: -node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            # `from isoprune import data` names the folder in the second half.
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "isoprune" else [module]
        else:
            continue
        for name in names:
            head, *below = name.split(".")
            if head == "isoprune" and below:
                yield below[0], node.lineno


def home(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


FILES = sorted(file for file in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_go_down(file: Path):
    here = home(file)
    for there, line in imports(file):
        where = f"{file.relative_to(PACKAGE)}:{line} imports {there}"
        assert there in DEPTH, f"{where}: which layer is it?"
        assert there == here or DEPTH[there] > DEPTH[here], f"{where}, which is not below {here}"


def test_every_folder_has_its_layer():
    assert {home(file) for file in FILES} <= set(DEPTH)


def test_architecture_md_draws_these_layers():
    drawn = (PACKAGE.parents[1] / "ARCHITECTURE.md").read_text(encoding="utf-8").split("```")[1]
    rows = [tuple(re.split(r"  +", line)[0].split(" | ")) for line in drawn.splitlines()[1:]]
    assert rows == [names for names in LAYERS if not names[0].startswith("__")]


def test_the_walk_sees_what_it_should():
    """The rules above are worth something only if imports are found in all their spellings."""
    seen = {there for file in (PACKAGE / "experiment").rglob("*.py") for there, _ in imports(file)}
    assert {"types", "graph", "pruning", "training", "isometry", "experiment"} <= seen


def test_reports_know_records_only():
    """What is not in a record cannot be reported."""
    for folder, below in {"reporting": {"comparison", "types"}, "comparison": {"types"}}.items():
        for file in (PACKAGE / folder).rglob("*.py"):
            # Records at a URL are fetched as a store is.
            fetches = {"experiment"} if file.name == "places.py" else set()
            assert {there for there, _ in imports(file)} <= {folder, *below} | fetches, file


def test_experiment_tables_are_reached_by_name_only():
    """`choice` imports the folders of methods when a config names them, and knows none of their methods."""
    from isoprune.experiment.signatures import KINDS

    folders = {kind.module.removeprefix("isoprune.").partition(".")[0] for kind in KINDS.values()}
    assert folders <= set(LAYERS[DEPTH["methods"]])


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_files_are_small(file: Path):
    """One concept a file: at 300 lines it has two."""
    assert len(file.read_text(encoding="utf-8").splitlines()) < 300
