"""`isoprune compare`: what it prints and writes, from real runs, and what it refuses in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from experiment.tiny import CONFIG, one_thread
from isoprune.cli import main
from isoprune.comparison import Setup, scratch_b, setup_of, train_samples
from isoprune.comparison.records import load_records
from isoprune.experiment.config import experiment
from isoprune.experiment.grid import expand
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store
from isoprune.experiment.study import plan_work, write_listing
from isoprune.types.json_files import sealed

STUDY = {"repair": ["none", "orthp"], "retrain.lr": [0.05, 0.01], "seed": [0, 1]}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return the store of a finished study of eight runs, and of a control for one of them."""
    made = Store(tmp_path_factory.mktemp("compare") / "runs")
    study = expand(CONFIG | {"study": STUDY}, name="repairs")
    with one_thread():
        records = [run(experiment, made, name="repairs") for experiment in study.experiments]
        flops = [records[0].network(role).flops for role in ("dense", "pruned")]
        control = scratch_b(records[0].config, *flops, train=train_samples(records[0]))
        run(experiment(control), made, name="control")
    write_listing(plan_work(study, made))
    return made


def compared(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> tuple[int, str, str]:
    code = main(["compare", *map(str, argv)])
    out, err = capsys.readouterr()
    return code, " ".join(out.split()), err


def test_a_study_is_compared_in_a_table_and_in_sentences(store: Store, capsys: Any):
    code, out, err = compared(capsys, store.root / "studies" / "repairs.json")
    assert (code, err) == (0, "")
    assert out.count("orthp − none") == 2
    assert "Every pair shares setup S3.2 or more" in out
    assert "Cross-check of orthp and none" in out


def test_a_control_made_by_scratch_b_is_of_the_budget_it_was_made_for(
    store: Store, capsys: Any, tmp_path: Path
):
    """From the config to the record: what the runs really took is the same to the step."""
    file = tmp_path / "new" / "all.json"
    assert compared(capsys, store.root, "--out", file)[0] == 0
    told = json.loads(file.read_text(encoding="utf-8"))
    setups = {d["setup"] for d in told["differences"] if d["other"] == "scratch"}
    assert setups == {"SX-B"}
    records = load_records(store.root)
    (scratch,) = [r for r in records if r.config["repair"]["name"] == "scratch"]
    others = [r for r in records if r.config["seed"] == scratch.config["seed"] and r is not scratch]
    assert {setup_of(r, scratch).setup for r in others} == {Setup.SX_B}


def test_markdown_has_the_table_and_the_sentences(store: Store, capsys: Any, tmp_path: Path):
    file = tmp_path / "all.md"
    code, out, _ = compared(capsys, store.root, "--by", "lr", "--without", "lr=0.5", "--out", file)
    assert code == 2  # no such method
    code, out, _ = compared(capsys, store.root, "--by", "lr", "--out", file)
    assert code == 0
    assert f"Written: {file}" in out
    text = file.read_text(encoding="utf-8")
    assert "| compared | at | setup | n | difference | 95 % interval | p | p (Holm) |" in text
    assert "- lr=0.05 against lr=0.01, repair.name = none, setup S4.2 but for lr" in text


def edited(store: Store, tmp_path: Path, **changes: Any) -> Path:
    """Return a copy of the study's records in which OrthP's retraining is another."""
    copy = Path(shutil.copytree(store.root / "runs", tmp_path / "runs"))
    for path in copy.rglob("record.json"):
        record = json.loads(path.read_text())
        if record["config"]["repair"]["name"] == "orthp":
            record["config"]["retrain"] |= changes
        if record["config"]["repair"]["name"] != "scratch":
            path.write_bytes(sealed(record))
        else:
            path.unlink()
    return copy


def test_an_unfair_comparison_is_one_line_with_the_options_that_would_allow_it(
    store: Store, capsys: Any, tmp_path: Path
):
    path = edited(store, tmp_path, momentum=0.5)
    code, out, err = compared(capsys, path)
    assert (code, out) == (2, "")
    assert err == (
        "isoprune: none and orthp share setup S3.1, not S3.2: retrain.momentum is 0.9 and 0.5. "
        "Retrain orthp with none's recipe, or pass --require S3.1.\n"
    )
    assert compared(capsys, path, "--require", "S3.1")[0] == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nowhere"], "No such file or directory: nowhere"),
        (["study.toml"], "study.toml is a config, not results. Run it first"),
        (["x", "--require", "S5"], "Unknown setup 'S5'. Did you mean"),
        (
            ["x", "--out", "result.html"],
            "--out result.html is none of .md, .json. Write",
        ),
    ],
)
def test_bad_options_are_one_line_before_anything_is_read(capsys: Any, argv: list[str], message: str):
    code, _, err = compared(capsys, *argv)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_a_truncated_record_is_told_by_its_file(store: Store, capsys: Any, tmp_path: Path):
    path = edited(store, tmp_path)
    file = sorted(path.rglob("record.json"))[0]
    file.write_text(file.read_text()[:200])
    code, _, err = compared(capsys, path)
    assert code == 2
    assert f"{file} is not a readable record" in err


def test_what_cannot_be_written_is_told(store: Store, capsys: Any, tmp_path: Path):
    (tmp_path / "file").write_text("")
    code, _, err = compared(capsys, store.root, "--out", tmp_path / "file" / "x.md")
    assert code == 2
    assert "cannot be written" in err
    assert "Give another place for it." in err
