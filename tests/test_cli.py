"""The command line: what each verb does, and that bad input is one line on stderr and exit code 2."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import refused
from experiment.tiny import HERE, one_thread
from isoprune.cli import VERBS, main
from isoprune.experiment import worker
from isoprune.experiment.executor import Outcome, Workers, cores

TINY = """
data = { name = "digits", limit = 150, size = 8 }
model = { name = "mlp_7", width = 8, depth = 3, activation = "relu" }
dense = { epochs = 2, lr = 0.05, batch = 50, jsv_samples = 4 }
prune.ratio = 0.5
repair = "orthp"
retrain = { epochs = 3, lr = 0.05, batch = 50, jsv_samples = 4 }
measure = { samples = 4, bins = 8 }
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    return file


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do in this process what the workers would: test_study starts real ones."""

    class Here(Workers):
        def __enter__(self) -> Workers:
            return self

        def execute(self, tasks: Any, on_event: Any) -> dict[str, Outcome]:
            outcomes: dict[str, Outcome] = {}
            with one_thread():
                for task in tasks:
                    before = outcomes.get(task.after, Outcome())
                    attempt = before if before.error else Outcome(**worker.attempt(task.work, lambda _: None))
                    outcomes[task.id] = attempt
                    on_event(task.id, {"state": "failed" if attempt.error else "done"})
            return outcomes

    monkeypatch.setattr("isoprune.experiment.executor.Workers", Here)


def test_help_teaches_without_loading_torch():
    code = (
        "import sys; from isoprune.cli import main; code = main(['--help']);"
        "sys.exit(code or 'torch' in sys.modules or 'numpy' in sys.modules)"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert got.returncode == 0
    assert all(f"\n    {verb} " in got.stdout for verb in VERBS)
    assert "isoprune demo" in got.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_by_an_example(capsys: pytest.CaptureFixture[str], verb: str):
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert re.search(rf"example:\n  isoprune {verb}\b", out)
    assert max(map(len, out.splitlines())) <= 110


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["studdy"], r"Unknown verb 'studdy'\. Did you mean 'study'\? Known: demo"),
        (["run"], r"FILE requires an argument\. See: isoprune run --help"),
        (["study", "x.toml", "--job", "2"], r"Unknown option: --job\. Did you mean --jobs\?"),
        (
            ["study", "x.toml", "--jobs", "two"],
            r"Invalid value for --jobs: unable to convert .two. into int\. See: isoprune study",
        ),
        (["study", "nowhere.toml"], r"No file nowhere\.toml\. Give the path of a TOML file"),
        (["run", "nowhere.toml"], r"No file nowhere\.toml"),
        (["report", "nowhere"], r"No such file or directory: nowhere"),
        (["report", "study.toml"], r"study\.toml is a config, not results\. Run it first \(isoprune study"),
        (["report", "x", "--figures", "pdf,jpg"], r"Unknown figure format 'jpg'\.\D*Known: pdf, svg, png"),
        (
            ["diagnose", "nowhere"],
            r"No nowhere\. Give a record\.json, or a folder like runs/networks/",
        ),
        (["diagnose", "nowhere", "--samples", "0"], r"--samples 0: at least one input"),
        (["methods", "repairs"], r"There is no kind or method 'repairs'\. Did you mean 'repair'\?"),
        (["demo", "--jobs", "999"], r"--jobs 999 is more than the \d+ cores"),
    ],
)
def test_bad_command_is_refused(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    argv: list,
    message: str,
):
    monkeypatch.chdir(tmp_path)
    assert re.search(message, refused(capsys, *argv))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("retrain.lrr=0.1", r"Unknown key 'retrain\.lrr'\. Did you mean 'retrain\.lr'"),
        ("prune.ratio=1.0", r"prune\.ratio is 1, outside \[0, 1\)"),
        ("dense.epochs=2.5", r"dense\.epochs must be a whole number"),
        ("retrain.lr", r"--set 'retrain\.lr' is not key=value"),
        ("repair=orthop", r"Unknown repair 'orthop'\. Did you mean 'orthp'"),
        ("repair={name='orthp', gian=1}", r"Unknown option 'gian' of repair 'orthp'.*Did you mean 'gain'"),
        ("repair={name='orthp', gain='big'}", r"repair\.gain must be a whole number or a number or left out"),
        ("data=digit", r"Unknown data set 'digit'\. Did you mean 'digits'"),
        ("repair=nowhere:f", r"Cannot import 'nowhere'"),
    ],
)
def test_bad_config_is_refused(capsys: pytest.CaptureFixture[str], toml: Path, setting: str, message: str):
    store = toml.parent / "runs"
    line = refused(capsys, "study", toml, "--store", store, "--set", setting)
    assert re.search(message, line)
    assert not store.exists()


def test_more_jobs_than_cores_is_refused(capsys: pytest.CaptureFixture[str], toml: Path):
    line = refused(capsys, "study", toml, "--jobs", cores() + 1)
    assert f"--jobs {cores() + 1} is more than the {cores()} cores" in line


@pytest.mark.usefixtures("in_process")
def test_run_tells_the_stages_and_is_not_done_twice(capsys: pytest.CaptureFixture[str], toml: Path):
    root = toml.parent / "runs"
    argv = ["run", str(toml), "--store", str(root), "--set", f"repair={HERE}:noisy"]
    assert main(argv) == 0
    captured = capsys.readouterr()
    assert re.findall(r"^ *(dense|pruned|repaired|retrained) ", captured.out, re.M) == [
        "dense",
        "pruned",
        "repaired",
        "retrained",
    ]
    path = Path(re.search(r"Record: (.*)", captured.out)[1])  # pyright: ignore[reportOptionalSubscript]
    before = path.stat().st_mtime_ns
    assert "1 runs are finished" in captured.err
    assert main(argv) == 0
    assert "1 of 1 runs are in" in capsys.readouterr().err
    assert path.stat().st_mtime_ns == before


@pytest.mark.usefixtures("in_process")
def test_diverged_run_ends_with_two_and_says_how_to_go_on(capsys: pytest.CaptureFixture[str], toml: Path):
    argv = ["run", toml, "--store", toml.parent / "runs", "--set", f"dense.schedule={HERE}:explode"]
    assert main([str(a) for a in argv]) == 2
    error = capsys.readouterr().err
    assert re.search(r"failed: dense mlp_7: dense [0-9a-f]{16}, seed 0: The loss is .* Lower lr", error)
    assert f"1 of 1 runs failed; the others are kept. Try again with: isoprune run {toml}" in error
    assert "Traceback" not in error


def test_store_that_may_not_be_written_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, toml: Path
):
    def fail(*_: object) -> None:
        raise OSError(30, "Read-only file system", str(toml.parent / "runs"))

    monkeypatch.setattr("isoprune.experiment.store.write_json", fail)
    line = refused(capsys, "study", toml, "--store", toml.parent / "runs")
    assert re.search(r"Cannot write to the store .*runs: Read-only .*--store DIR", line)


def test_reader_that_has_seen_enough_is_no_error():
    """`isoprune methods | head -1`."""
    code = "import sys; from isoprune.cli import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", code, "methods"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        error = process.stderr.read() if process.stderr else b""
    assert process.returncode == 0
    assert error == b""


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: Any):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("isoprune.cli.methods.methods", stop)
    assert main(["methods"]) == 130
    assert capsys.readouterr().err == "isoprune: stopped.\n"


def test_bugs_are_not_dressed_up_as_the_users(monkeypatch: pytest.MonkeyPatch):
    def bug(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("isoprune.cli.methods.methods", bug)
    with pytest.raises(ValueError, match="a bug"):
        main(["methods"])


@pytest.mark.matrix
def test_demo_tells_the_story(tmp_path: Path, capsys: Any):
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    out = capsys.readouterr().out
    assert out.count("• ") == 3
    assert "mlp_7 linear" in out
    assert "mlp_7 relu" in out
    assert (tmp_path / "demo" / "index.html").exists()
    assert len(list((tmp_path / "demo").rglob("record.json"))) == 36


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys, monkeypatch):
    from isoprune.cli import console

    clock = iter([0.0, 10.0, 31.0, 45.0, 3700.0])
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 30.0)
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(console, "error_console", lambda: console._Console(stderr=True, force_terminal=False))
    with console.progress() as tell:
        for epoch in range(1, 5):
            tell(f"dense network: epoch {epoch} of 4")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2] for line in lines] == [f"dense network: epoch {e} of 4" for e in (2, 4)]
