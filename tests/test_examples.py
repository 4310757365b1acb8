"""The gallery: every example runs, is short, and prints what its page says."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(file.stem for file in (ROOT / "examples").glob("*.py"))
GALLERY = SimpleNamespace(**runpy.run_path(str(ROOT / "docs/gallery.py")))
PAGE = GALLERY.PAGE.read_text(encoding="utf-8")
NUMBER = r"-?[\d,]*\d(?:\.\d+)?(?:e[-+]?\d+)?"
LIGHT = ("masks_in_a_loop",)
# Kernels of another kind train to other bits, and the accuracy right after pruning can then differ by fifteen
# points: there the words and the shape of what is printed are compared.
SAME_KERNELS = torch.backends.cpu.get_cpu_capability() == "AVX2"


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_short(name: str):
    assert len((ROOT / f"examples/{name}.py").read_text(encoding="utf-8").splitlines()) < 80


def test_the_page_has_every_example_as_it_is():
    printed = GALLERY.printed_on(PAGE)
    assert sorted(printed) == EXAMPLES
    assert GALLERY.page(printed) == PAGE


def agree(now: str, then: str, *, numbers: bool = True) -> bool:
    """Tell whether words and counts are equal, accuracies within 4 points, other numbers within a fifth."""
    rows = [list(map(str.rstrip, text.strip().splitlines())) for text in (now, then)]
    if len(rows[0]) != len(rows[1]):
        return False
    for new, old in zip(*rows, strict=True):
        if re.sub(NUMBER, "#", re.sub(r" +", " ", new)) != re.sub(NUMBER, "#", re.sub(r" +", " ", old)):
            return False
        if not numbers:
            continue
        for a, b in zip(re.finditer(NUMBER, new), re.finditer(NUMBER, old), strict=True):
            x, y = float(a[0].replace(",", "")), float(b[0].replace(",", ""))
            percent = "±" in old or old[b.end() : b.end() + 1] == "%"
            if re.fullmatch(r"[\d,]+", b[0]) and not percent and "bytes" not in old:
                same = x == y  # counts
            elif abs(y) < 1e-3:
                same = abs(x) < 1e-3  # what rounding left of an equality
            else:
                same = abs(x - y) <= (4 if percent else 0.2 * abs(y))
            if not same:
                return False
    return True


def test_what_an_example_prints_is_compared():
    then = "dense  96.7% of 90 images, 1,234 parameters\nerror 1.2e-16, 8.00"
    assert agree(then.replace("96.7", "93.1").replace("1.2e-16", "0.0"), then) is True
    for word, other in (
        ("96.7", "91.0"),
        ("1,234", "1,235"),
        ("dense", "small"),
        ("8.00", "9.9"),
        ("1.2e-16", "0.1"),
    ):
        assert agree(then.replace(word, other), then) is False, word
    assert agree(then + "\nmore", then) is False


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [n if n in LIGHT else pytest.param(n, marks=pytest.mark.matrix) for n in EXAMPLES]
)
def test_an_example_prints_what_its_page_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        runpy.run_path(str(ROOT / f"examples/{name}.py"), run_name="__main__")
    finally:
        torch.set_num_threads(threads)
    now, then = capsys.readouterr().out, GALLERY.printed_on(PAGE)[name]
    assert agree(now, then, numbers=SAME_KERNELS), f"now:\n{now}\non the page:\n{then}"
    if name in GALLERY.PICTURES:
        file = GALLERY.PICTURES[name][0]
        drawn, kept = (np.asarray(Image.open(f), float) for f in (tmp_path / file, GALLERY.FIGURES / file))
        assert drawn.shape == kept.shape
        assert abs(drawn - kept).mean() < 10  # of 255: boxes may move
