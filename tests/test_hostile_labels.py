"""Whatever a data set, a network or an experiment is called, it is a name in every output, no more."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest

from isoprune.cli import main
from isoprune.cli.console import output_console
from isoprune.comparison.records import read_outlines, read_records
from isoprune.reporting.pivots import FORMATS, pivot
from isoprune.types.json_files import sealed
from isoprune.types.printable import LONGEST, name, printable
from isoprune.types.record_files import printable_json
from reporting.records import record

NAMES = (
    "a\n\\immediate\\write18{id}", "\\input{/etc/passwd}", "<script>alert(1)</script>", "a\r\n| b | c |\n# d",
    "<img src=x onerror=alert(1)>", '=HYPERLINK("x")', "@SUM(1)", "+1+cmd|' /C calc'!A0", "-2+3",
    "\x1b[2J\x1b]0;x\x07",
    "{{7*7}}", "nul\0", "\u202eright\u200fto left", "x" * 10_000,
    "[link](javascript:alert(1))", "`code`", "\x9b31m",
    "%comment\n\\end{tabular}", "../../etc/passwd", "$x$ & _y_ ^z~ #1",
)  # fmt: skip


@pytest.fixture(params=NAMES, ids=range(len(NAMES)))
def called(request, tmp_path) -> tuple[str, Path]:
    """Return a name, and a store whose data set, network and experiment bear it."""
    for seed in (0, 1):
        one = record(seed=seed)
        one.config["data"]["name"] = one.config["model"]["name"] = request.param
        one = msgspec.structs.replace(one, name=request.param, digest=f"d{seed}")
        path = tmp_path / "store" / "runs" / one.digest / "record.json"
        path.parent.mkdir(parents=True)
        path.write_bytes(sealed(msgspec.to_builtins(one)))
    return request.param, tmp_path / "store"


def is_plain(text: str) -> bool:
    return all(c == "\n" or c.isprintable() for c in text)


def test_a_name_is_printable_when_it_is_read(called):
    for found in (*read_records(called[1]), *read_outlines(called[1])):
        assert found.name.isprintable()
        assert len(found.name) <= LONGEST
    assert read_records(called[1])[0].config["data"]["name"] == name(called[0])


def tables(store: Path, form: str) -> list[str]:
    """Return the table with the names in its cells, and in what all share."""
    found = read_outlines(store)
    return [FORMATS[form](pivot(found, rows=rows, columns=())) for rows in ("data", "ratio", "model,data")]


def test_latex_has_the_commands_of_a_table_only(called):
    for text in tables(called[1], "latex"):
        assert is_plain(text)
        code = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
        commands = set(re.findall(r"\\([a-zA-Z]+)", code))
        assert commands <= {
            "begin", "end", "toprule", "midrule", "bottomrule", "addlinespace", "pm", "times", "infty",
            "textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater",
        }  # fmt: skip
        assert code.count("\\end{") == 1


def test_markdown_has_no_tag_link_or_second_table(called):
    for text in tables(called[1], "markdown"):
        assert is_plain(text)
        assert not re.search(r"(?<!\\)<|(?<!\\)\[|(?<!\\)`", text)
        assert not any(line.startswith("#") for line in text.splitlines())
        assert (
            len({len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line[:1] == "|"}) == 1
        )


def test_csv_has_no_formula(called):
    for text in tables(called[1], "csv"):
        rows = list(csv.reader(io.StringIO(text)))
        assert len({len(row) for row in rows}) == 1
        cells = [cell for row in rows for cell in row if cell[:1] in ("=", "+", "-", "@")]
        assert all(re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", cell) for cell in cells)


def test_the_terminal_is_not_steered(called, capsys, monkeypatch):
    monkeypatch.chdir(called[1].parent)
    output_console().print(called[0], markup=False)
    for words in (
        ["report", "store", "--rows", "data"],
        ["compare", "store"],
        ["compare", "store", "--by", called[0]],
    ):
        assert main(words) in (0, 2)
    out, err = capsys.readouterr()
    assert is_plain(out)
    assert is_plain(err)


def test_comparison_and_figure_are_written_as_they_are_named(called, capsys, monkeypatch):
    monkeypatch.chdir(called[1].parent)
    main(["compare", "store", "--by", "seed", "--out", "c.md"])
    assert not Path("c.md").exists() or "<script" not in Path("c.md").read_text().replace("\\<", "")


@pytest.mark.parametrize(
    "called",
    [NAMES[2], *(pytest.param(NAMES[i], marks=pytest.mark.matrix) for i in (9, 13, 19))],
    indirect=True,
    ids=range(4),
)
def test_pages_and_figures(called, capsys, monkeypatch):
    monkeypatch.chdir(called[1].parent)
    assert main(["report", "store", "--out", "page.html", "--figures", "svg"]) == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "\x1b" not in page
    drawn = list(Path.cwd().glob("*.svg"))
    assert drawn
    for file in drawn:
        ET.parse(file)
        assert re.fullmatch(r"[\w.-]{1,200}", file.name)


@pytest.mark.parametrize("text", NAMES, ids=range(len(NAMES)))
def test_printable(text):
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)
    assert name(text) != name(text + "x")


def test_usual_names_are_as_they_are():
    for text in ("mlp_7", "JSV pruned → repaired", "60.00 ± 1.00", "ResNet-18 (café)", "数字"):
        assert name(text) == text


@pytest.mark.parametrize("escaped", [True, False])
def test_json_with_any_character_in_it_is_read_as_its_texts_are_shown(escaped):
    """Letters, blanks and marks of all scripts, some of what else there is; escaped marks hide none."""
    for code in (
        *range(0x3100),
        *range(0x3100, 0xD800, 97),
        *range(0xFE00, 0x10000),
        *range(0xE000, 0xE0080, 499),
    ):
        text = "".join(('a"', chr(code), "\\"))
        content = json.dumps({text: [text, 1]}, ensure_ascii=escaped).encode()
        assert msgspec.json.decode(printable_json(content)) == {name(text): [name(text), 1]}, hex(code)


@pytest.mark.parametrize("text", ["x" * LONGEST, "x" * (LONGEST + 1), "x\\" * LONGEST, '"' * (LONGEST + 1)])
def test_json_with_a_long_text_is_read_as_it_is_shown(text):
    assert msgspec.json.decode(printable_json(json.dumps([text]).encode())) == [name(text)]


def test_json_of_usual_texts_is_not_written_anew():
    """However many numbers stand between two texts: reading ten thousand records takes seconds."""
    content = json.dumps(
        {"edges": [0.1] * 1000, "name": "60 ± 1 → \u201cbest\u201d", "path": "C:\\x"}
    ).encode()
    assert printable_json(content) is content
