"""What a config can name, read from the source of the tables, which loads neither them nor torch.

A folder of methods has a table ``{f.__name__: f for f in (...)}`` in its ``__init__``; a method's options,
marks and first line are those of its own file. A test holds all of it to what the imported tables say.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import isoprune
from isoprune.experiment.config import Choice, Experiment
from isoprune.experiment.pins import PINS
from isoprune.experiment.resolve import choices_in
from isoprune.experiment.signatures import KINDS, SHOWN, unknown_method, unknown_option
from isoprune.types.method import Method

REQUIRED = object()  # in place of a default


@dataclass(frozen=True)
class MethodEntry:
    """A method as its source describes it: name, options with their defaults, docstring, and marks.

    ``takes_any``: it takes options of any name.
    """

    name: str
    options: Mapping[str, Any]
    doc: str
    method: Method
    takes_any: bool

    @property
    def summary(self) -> str:
        """The first line, without marks of quotation."""
        return without_roles(self.doc.partition("\n")[0])

    @property
    def cost(self) -> str:
        """What it takes, as its docstring says; of a criterion that says nothing: what its needs take."""
        reads = "a backward pass of all the data" if "gradients" in self.method.needs else "none"
        return self._paragraph("Cost") or (reads if self.method.kind == "criterion" else "")

    @property
    def memory(self) -> str:
        """What it holds besides the network, as its docstring says."""
        return self._paragraph("Memory")

    @property
    def year(self) -> str:
        """Of its paper; of several the last."""
        found = re.findall(r"\b(?:19|20)\d\d\b", re.sub(r"arXiv \S+", "", self.method.source))
        return found[-1] if found else ""

    def _paragraph(self, word: str) -> str:
        found = re.search(rf"\b{word}:\s(.*?)(?:\.?\s+Memory:\s|\n\n|$)", self.doc, re.S)
        return without_roles(" ".join(found[1].split())).removesuffix(".") if found else ""


def without_roles(text: str) -> str:
    """Return a docstring's text without roles and quotation marks: formulas stay as they are."""
    return re.sub(r":\w+:`([^`]*)`|`+([^`]*)`+", lambda found: found[1] or found[2], text)


@functools.cache
def catalogue(kind: str) -> dict[str, MethodEntry]:
    """Return the methods of a kind (data, model, criterion, penalty, repair, schedule, ...) by name."""
    spec = SHOWN[kind]
    home = _Source.of(spec.module)
    entries = {}
    for name in home.table(spec.table):
        source, node = home.resolve(name)
        assert isinstance(node, ast.FunctionDef)
        options = source.parameters(node, besides=spec.supplied)
        doc = ast.get_docstring(node) or ""
        entries[name] = MethodEntry(name, options, doc, source.marks(node), node.args.kwarg is not None)
    return entries


def check(kind: str, choice: Choice, key: str) -> None:
    """Raise for a method or an option that is none, as `signatures.complete` does, in no time.

    What a method is nested in, and functions from elsewhere, are left to that.
    """
    if ":" in choice.name:
        return
    entries, extra = catalogue(kind), KINDS[kind].extra
    if choice.name not in entries:
        raise unknown_method(kind, choice.name, entries)
    entry = entries[choice.name]
    for option in choice.options:
        if option not in {*entry.options, *extra, *PINS} and not entry.takes_any:
            raise unknown_option(kind, choice.name, option, [*entry.options, *extra], key)


def check_experiment(experiment: Experiment) -> None:
    """Raise for the first method or option of an experiment that is none."""
    for kind, choice, key in choices_in(experiment):
        check(kind, choice, key)


@dataclass(frozen=True)
class _Source:
    """A module of isoprune, parsed and not imported: what stands in it by name."""

    names: Mapping[str, ast.stmt | ast.expr]
    imported: Mapping[str, tuple[str, str]]  # name here -> module, name there

    @staticmethod
    @functools.cache
    def of(module: str) -> _Source:
        path = Path(isoprune.__file__).parent.joinpath(*module.split(".")[1:])
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        names: dict[str, ast.stmt | ast.expr] = {}
        imported = {}
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                names[node.name] = node
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names |= {target.id: node.value for target in targets if isinstance(target, ast.Name)}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
        return _Source(names, imported)

    def resolve(self, name: str) -> tuple[_Source, ast.stmt | ast.expr]:
        """Return where ``name`` is defined, and as what."""
        if name in self.names:
            return self, self.names[name]
        module, there = self.imported[name]
        return _Source.of(module).resolve(there)

    def value(self, node: ast.expr) -> Any:
        """Return a default: literals, constants by their names, and arithmetic of these."""
        names: dict[str, Any] = {"__builtins__": {}}
        for part in ast.walk(node):
            if isinstance(part, ast.Name):
                source, found = self.resolve(part.id)
                assert isinstance(found, ast.expr)
                names[part.id] = source.value(found)
        return eval(compile(ast.Expression(node), "default", "eval"), names)

    def table(self, name: str) -> list[str]:
        """Return the names of the functions in a table ``{f.__name__: f for f in (...)}``."""
        made = self.names[name]
        assert isinstance(made, ast.DictComp)
        listed = made.generators[0].iter
        assert isinstance(listed, ast.Tuple)
        return [element.id for element in listed.elts if isinstance(element, ast.Name)]

    def parameters(self, node: ast.FunctionDef, *, besides: Container[str] = ()) -> dict[str, Any]:
        """Return the parameters of a function but those named ``besides``, and their defaults."""
        given = node.args
        placed = [*given.posonlyargs, *given.args]
        defaults = [None] * (len(placed) - len(given.defaults)) + given.defaults
        pairs = [*zip(placed, defaults, strict=True), *zip(given.kwonlyargs, given.kw_defaults, strict=True)]
        own = ((arg.arg, default) for arg, default in pairs if arg.arg not in besides)
        return {name: REQUIRED if default is None else self.value(default) for name, default in own}

    def marks(self, node: ast.FunctionDef) -> Method:
        """Return what `@method` says of a function."""
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "method":
                kind, *needs = map(self.value, mark.args)
                said = {key.arg: key.value for key in mark.keywords if key.arg}
                facts = {key: self.value(value) for key, value in said.items()}
                return Method(kind, frozenset(needs), **facts)
        return Method("own")


OTHERS = ("data", "model")  # kinds that are no methods
_OF_UNITS = ("criterion", "repair", "allocation", "check", "penalty")  # kinds that know grains
_COLUMNS = ("what", "grains", "needs", "cost", "memory", "paper", "year")
_HEAD = """# Every method

Made of the methods' own files by `isoprune methods --out docs/methods.md`; `isoprune methods NAME` prints a
method's formula and its options. "Data" are batches of inputs, "labels" their targets; a method that needs
gradients runs backward passes, "batchnorm" one that scores only what a BatchNorm follows; a "history" is
gathered while the network trains.
"""


def method_table() -> str:
    """Return a page of Markdown: a table a kind, without the columns that are empty."""
    tables = [_table(kind) for kind in SHOWN if kind not in OTHERS]
    return "\n".join([_HEAD, *tables])


def facts(entry: MethodEntry) -> dict[str, str]:
    """Return the facts of a method as text; "" for each that it does not have."""
    method, words = entry.method, ("data", "labels", "gradients", "dense", "plan", "batchnorm", "history")
    every = {grain for other in catalogue("criterion").values() for grain in other.method.grains}
    grains = "all" if set(method.grains) == every else ", ".join(method.grains)
    of_units = method.kind in _OF_UNITS and (method.kind != "penalty" or "plan" in method.needs)
    changes = ["changes the weights that stay"] if method.updates_weights and not method.repair else []
    after = [f"then {method.repair}"] if method.repair else []
    return {
        "grains": grains if of_units else "",
        "needs": ", ".join(word for word in words if word in method.needs),
        "cost": "; ".join(filter(None, [entry.cost, *changes, *after])),
        "memory": entry.memory,
        "paper": method.source,
        "year": entry.year,
    }


def _table(kind: str) -> str:
    found = catalogue(kind).values()
    rows = [{"name": f"`{e.name}`", "what": e.doc.partition("\n")[0], **facts(e)} for e in found]
    columns = ["name", *(c for c in _COLUMNS if any(row[c] for row in rows))]
    lines = [columns, ["---"] * len(columns), *([_cell(row[c]) for c in columns] for row in rows)]
    title = SHOWN[kind].word.capitalize()
    return f"## {title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """Return text whose formulas GitHub sets, and whose bars end no cell."""

    def formula(match: re.Match[str]) -> str:
        return "$" + match[1].replace(r"\|", r"\Vert ").replace("|", r"\vert ") + "$"

    text = re.sub(r":math:`([^`]*)`", formula, text)
    return re.sub(r":\w+:`([^`]*)`", r"`\1`", text).replace("``", "`").removesuffix(".")
