"""`isoprune report --rows`: a table of record files, printed or written, and what it refuses in one line."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from isoprune.cli import main
from isoprune.types.json_files import sealed
from reporting.pivots.made import grid

ASKED = ("--rows", "ratio", "--columns", "repair,lr")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a store of the runs of a made-up study."""
    for record in grid():
        folder = tmp_path / "runs" / "runs" / record.digest
        folder.mkdir(parents=True)
        (folder / "record.json").write_bytes(sealed(msgspec.to_builtins(record)))
    return tmp_path / "runs"


def asked(capsys: Any, *argv: str | Path) -> tuple[int, str, str]:
    code = main(["report", *map(str, argv)])
    return code, *capsys.readouterr()


def test_a_store_becomes_a_table(store: Path, capsys: Any):
    code, out, err = asked(capsys, store, *ASKED)
    assert (code, err) == (0, "")
    assert "| 0.5 | 60.00 ± 1.00 | 80.00 ± 1.00 | 65.00 ± 1.00 | 70.00 ± 1.00 |" in out.splitlines()


def test_a_record_that_is_named_twice_counts_once(store: Path, capsys: Any):
    one = next(store.glob("runs/*/record.json"))
    assert asked(capsys, store, one, *ASKED)[1] == asked(capsys, store, *ASKED)[1]


def test_the_suffix_says_what_is_written(store: Path, capsys: Any, tmp_path: Path):
    for name, start in (("t.md", "data digits"), ("t.tex", "% data digits"), ("t.csv", "ratio,repair,lr,n,")):
        assert asked(capsys, store, *ASKED, "--out", tmp_path / "new" / name)[0] == 0
        assert (tmp_path / "new" / name).read_text(encoding="utf-8").startswith(start)
    assert len((tmp_path / "new" / "t.csv").read_text(encoding="utf-8").splitlines()) == 9


def test_where_value_spread_and_format_reach_the_table(store: Path, capsys: Any):
    where = ("--where", "ratio=0.5", "--where", "lr=1e-2")
    more = ("--value", "dense.test_accuracy", "--spread", "interval", "--format", "csv")
    code, out, _ = asked(capsys, store, "--rows", "repair", *where, *more)
    assert code == 0
    assert [line["repair"] for line in csv.DictReader(out.splitlines())] == ["none", "orthp"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--columns", "lr"), "--columns is for a table. Give its rows too"),
        ((*ASKED, "--title", "T"), "--figures and --title are for a page"),
        ((*ASKED, "--where", "ratio"), "is no condition. Write --where WORD=VALUE"),
        ((*ASKED, "--format", "latx"), "Did you mean 'latex'?"),
        ((*ASKED, "--out", "t.docx"), "a table is a file .md, .tex or .csv"),
        (("--rows", "ratio"), "are not equal"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(store: Path, capsys: Any, argv: Any, said: str):
    code, out, err = asked(capsys, store, *argv)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert not Path("t.docx").exists()


@pytest.mark.parametrize("content", ["", '{"version": 2, "net', "[1, 2]", '{"version": 2}', "\x00"])
def test_a_damaged_record_is_named(store: Path, capsys: Any, content: str):
    file = next(store.glob("runs/*/record.json"))
    file.write_text(content, encoding="utf-8")
    code, _, err = asked(capsys, store, *ASKED)
    assert code == 2
    assert file.parent.name in err
    assert err.count("\n") == 1


def test_a_table_needs_no_torch(store: Path):
    """It is read and written in the time that torch alone takes to import."""
    look = (
        "import sys; from isoprune.cli import main; "
        f"code = main(['report', {str(store)!r}, '--rows', 'ratio', '--columns', 'repair,lr']); "
        "assert code == 0; heavy = {'torch', 'pandas', 'altair'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", look], check=True, capture_output=True)
