"""`isoprune prune MODEL --data DATA`: a target in FLOPs, parameters or time is met."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiment.tiny import one_thread
from recipes import MLP, network, own_networks, record, told


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # As in a process of its own that OMP_NUM_THREADS=1 is told to.
    with one_thread(), own_networks(tmp_path, monkeypatch):
        yield


@pytest.mark.matrix
@pytest.mark.parametrize("target", ["flops", "parameters"])
def test_a_target_is_met(target, capsys):
    told(capsys, *MLP, f"--{target}", "0.5", "--epochs", "1")
    found = network(record(), "retrained")[target]
    most = max(k for k in range(1, 9) if _size(target, k) <= 0.5 * _size(target, 8))
    assert found == _size(target, most)


def _size(target: str, k: int) -> int:
    return 64 * k + k * k + 10 * k + (2 * k + 10 if target == "parameters" else 0)


@pytest.mark.matrix
def test_a_target_in_time_is_brought_to_a_ratio_once(capsys, monkeypatch):
    words = (
        *MLP,
        "--set",
        "model.width=200",
        "--latency",
        "0.6",
        "--epochs",
        "1",
        "--latency-backend",
        "eager",
    )
    # The clock of a loaded machine proves nothing: time is here what is counted.
    from isoprune.export import target

    measured: list[float] = []

    def counted(dense: Any, *_args: Any, **_how: Any) -> Any:
        def share(small: Any) -> float:
            sizes = [sum(p.numel() for p in net.parameters()) for net in (dense, small)]
            measured.append(sizes[1] / sizes[0])
            return measured[-1]

        return share, "eager"

    monkeypatch.setattr(target, "share_of_time", counted)
    told(capsys, *words)
    one, count = record(), len(measured)
    sizes = [network(one, stage)["parameters"] for stage in ("dense", "retrained")]
    assert 0.5 < sizes[1] / sizes[0] <= 0.6
    table = json.loads(Path("o/recipe.json").read_text())
    assert table["request"]["target"] == {"latency": 0.6}
    assert table["ratio"] == one["config"]["prune"]["ratio"]
    told(capsys, *words)
    assert len(measured) == count
    assert record() == one
