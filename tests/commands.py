"""Commands that are refused."""

from __future__ import annotations

import pytest

from isoprune.cli import main


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """Return the one line with which a command is refused."""
    assert main([str(a) for a in argv]) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert len(lines) == 1
    assert lines[0].startswith("isoprune: ")
    return lines[0]
