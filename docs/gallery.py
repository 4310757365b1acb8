"""Makes gallery.md of examples/: `python docs/gallery.py [NAMES]` runs them (all, or these)."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE, FIGURES = ROOT / "docs/gallery.md", ROOT / "docs/figures"
TITLES = {
    "folder_cnn": "Your own CNN on a folder of images",
    "detector": "A detector",
    "language_model": "A language model",
    "masks_in_a_loop": "Masks in a plain training loop",
    "lottery_ticket": "Lottery tickets",
    "own_criterion": "A criterion of your own",
    "lightning_callback": "Lightning",
    "trainer_callback": "transformers' Trainer",
    "prune_then_int8": "Prune, then int8",
    "paper_table": "A paper's table",
    "diagnose_digits": "What pruning broke, and what repairs it",
    "prune_resnet": "ResNet-18, proven, saved and exported",
}
PICTURES = {"detector": ("detector.png", "Rows: dense, pruned, retrained; the surest box of each image")}
TOP = """# Gallery

Twelve scripts under 80 lines; each runs in seconds on a CPU. What stands below each is what it printed
(`python docs/gallery.py`, one thread). Tests run them again: words and counts must be equal, accuracies
within 4 points.
"""


def page(printed: dict[str, str]) -> str:
    """Return the page, of what the examples printed."""
    return TOP + "".join(_section(name, title, printed[name]) for name, title in TITLES.items())


def _section(name: str, title: str, printed: str) -> str:
    source = (ROOT / f"examples/{name}.py").read_text(encoding="utf-8")
    said = ast.get_docstring(ast.parse(source))
    assert said is not None
    said = re.sub(r"\n    (python \S+)\n", r"\n```console\n$ \1\n```\n", said)
    said = re.sub(r"\n    (python \S+) +(.*)\n", r"\n```console\n$ \1    # \2\n```\n", said)
    shown = "\n".join(line.rstrip() for line in printed.strip("\n").splitlines())
    parts = [f"## {title}", said, f"```text\n{shown}\n```"]
    if name in PICTURES:
        file, words = PICTURES[name]
        parts.append(f"![{words}](figures/{file})")
    link = f"[examples/{name}.py](../examples/{name}.py)"
    code = f"```python\n{source}```"
    parts.append(f"{link}\n\n<details><summary>The code</summary>\n\n{code}\n\n</details>")
    return "\n" + "\n\n".join(parts) + "\n"


def printed_on(text: str) -> dict[str, str]:
    """Return what the page says that each example printed."""
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    blocks = {t: re.search(r"```text\n(.*?)\n```", s, re.DOTALL) for t, s in sections.items()}
    return {name: b[1] for name, title in TITLES.items() if (b := blocks.get(title))}


def run(name: str) -> str:
    """Return what an example prints; its picture goes to docs/figures."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-W", "ignore", str(ROOT / f"examples/{name}.py")]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
        if name in PICTURES:
            shutil.copy(Path(folder) / PICTURES[name][0], FIGURES / PICTURES[name][0])
    return done.stdout


def main(names: list[str]) -> None:
    printed = printed_on(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    for name in names or TITLES:
        printed[name] = run(name)
    PAGE.write_text(page(printed), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
