"""Every place of the package that could run what data name is listed here, with what keeps it from that."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "isoprune"

CALLS = {
    "import_module", "__import__", "exec", "eval", "compile", "imported", "load_module", "run_module",
    "run_path", "system", "popen", "Popen", "check_output", "check_call", "execv", "execvp", "spawnl",
}  # fmt: skip
MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "marshal",
    "shelve",
    "joblib",
    "yaml",
    "runpy",
    "ctypes",
}
LOADERS = {("torch", "load"), ("np", "load"), ("numpy", "load"), ("hub", "load"), ("jit", "load")}

KNOWN = {
    # What a user named, in a command, his config or a call; `trusted_names` keeps files away from it.
    ("types/importing.py", "import_module"): "a name that the user wrote",
    ("experiment/pins.py", "imported"): "of a config that the user gave; of a file, see `trusted`",
    ("data/images.py", "imported"): "a transform of a config that the user gave; of a file, see `trusted`",
    ("export/sources.py", "imported"): "of a command; of a saved folder, see `is_zoo`",
    ("experiment/signatures.py", "getattr(module)"): "the attribute of that name",
    ("experiment/signatures.py", "getattr(module_named)"): "the attribute of that name",
    ("export/sources.py", "getattr(module)"): "the attribute of that name",
    # Names that stand in our own source.
    ("experiment/signatures.py", "import_module"): "the table KINDS",
    ("experiment/signatures.py", "getattr(importlib)"): "the table KINDS",
    ("cli/__init__.py", "import_module"): "the table VERBS",
    ("cli/__init__.py", "getattr(import_module)"): "the table VERBS",
    ("export/sources.py", "import_module"): "timm or transformers",
    ("export/onnx.py", "import_module"): "onnx, onnxscript and onnxruntime",
    ("export/onnx_program.py", "import_module"): "onnx and onnx_ir",
    ("experiment/catalogue.py", "eval"): "defaults in our own source, without builtins",
    ("experiment/catalogue.py", "compile"): "defaults in our own source",
    ("experiment/memory.py", "ctypes"): "malloc_trim of the C library that the interpreter has loaded",
    ("experiment/executor.py", "Popen"): "our own worker, with -P: no module of the folder it starts in",
    ("experiment/record.py", "system"): "platform.system()",
    ("graph/cloning.py", "getattr(nn)"): "the ways of copying that nn.Module has",
    ("data/cifar.py", "getattr(torchvision)"): "CIFAR10 or CIFAR100",
    ("reproduction/studies.py", "getattr(judges)"): "the judges that the package's own studies name",
    ("data/mnist.py", "getattr(datasets)"): "MNIST or FashionMNIST",
    ("graph/draws.py", "getattr(torch)"): "an operation of torch that a forward called just now",
    ("graph/rules/picking.py", "getattr(torch)"): "an operation of torch that a forward called just now",
    ("graph/rules/shape.py", "getattr(torch)"): "an operation of torch that a forward called just now",
    # What holds pickles is read without them.
    ("export/weights.py", "pickle"): "its error only",
    ("export/weights.py", "torch.load"): "weights_only=True",
}


def sites(source: str) -> Iterator[str]:
    """Yield what in a file's source could run code that data name."""
    tree = ast.parse(source)
    modules = {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if isinstance(node, ast.Import) or not alias.name[0].isupper()
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from MODULES & {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            yield from MODULES & {(node.module or "").partition(".")[0]}
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
            if (owner, node.attr) in LOADERS:
                yield f"{owner}.{node.attr}"
        elif isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            # `re.compile`, `model.eval()` and the like are other things of that name.
            builtin = called in ("exec", "eval", "compile") and not isinstance(node.func, ast.Name)
            if called in CALLS and not builtin:
                yield called
            if called == "getattr" and not isinstance(node.args[1], ast.Constant):
                root = node.args[0]
                while isinstance(root, ast.Attribute | ast.Call):
                    root = root.value if isinstance(root, ast.Attribute) else root.func
                if isinstance(root, ast.Name) and root.id in modules | {"module"}:
                    yield f"getattr({root.id})"


def test_every_place_that_could_run_what_data_name_is_known():
    found = {
        (file.relative_to(PACKAGE).as_posix(), site)
        for file in PACKAGE.rglob("*.py")
        for site in sites(file.read_text(encoding="utf-8"))
    }
    modules_of_networks = {one for one in found if one[1] == "getattr(module)" and one not in KNOWN}
    # `module` is an nn.Module in the folders that work on networks.
    assert {one[0].partition("/")[0] for one in modules_of_networks} <= {"methods", "pruning", "signals"}
    assert found - modules_of_networks == set(KNOWN)


def test_weights_are_read_without_pickles():
    calls = [
        node
        for node in ast.walk(ast.parse((PACKAGE / "export/weights.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load"
    ]
    options = [{key.arg: ast.literal_eval(key.value) for key in call.keywords} for call in calls]
    assert options
    assert all(given.get("weights_only") is True for given in options)


@pytest.mark.parametrize(
    ("source", "site"),
    [
        ("import importlib\nimportlib.import_module(name)", "import_module"),
        ("__import__(name)", "__import__"),
        ("exec(text)", "exec"),
        ("import torch\ntorch.load(path)", "torch.load"),
        ("import pickle", "pickle"),
        ("from torch import nn\ngetattr(nn, name)()", "getattr(nn)"),
        ("import torch\ngetattr(torch.optim, name)", "getattr(torch)"),
        ("import os\nos.system(text)", "system"),
    ],
)
def test_a_new_place_is_seen(source, site):
    assert site in set(sites(source))
