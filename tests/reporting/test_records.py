"""Loading: what is found, what is refused, with the words of the remedy."""

from __future__ import annotations

import json
import re

import pytest

from isoprune.comparison.records import load_records
from isoprune.types import IsopruneError
from reporting.records import lr_effect, record


def _store(root, records):
    for one in records:
        path = root / "runs" / one["digest"] / "record.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(one))


def test_a_directory_gives_back_every_record_in_it(tmp_path):
    records = lr_effect(1)
    _store(tmp_path, records)
    assert load_records(tmp_path) == sorted(records, key=lambda one: one["digest"])
    assert load_records([tmp_path, str(tmp_path)]) == load_records(tmp_path)


def test_paths_come_back_in_their_order(tmp_path):
    records = lr_effect(1)[:3]
    _store(tmp_path, records)
    paths = [tmp_path / "runs" / one["digest"] / "record.json" for one in reversed(records)]
    assert load_records(paths) == records[::-1]


def test_half_written_files_beside_a_record_are_not_records(tmp_path):
    _store(tmp_path, [record()])
    (tmp_path / "runs" / record()["digest"] / "record.json.tmp").write_text('{"version"')
    assert load_records(tmp_path) == [record()]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"version": 1, "config": {', "is not a readable record .*delete it and run the study again"),
        (b"\xff\xfe\x00", "is not a readable record"),
        (b"", "is not a readable record"),
        (b"[1, 2]", "holds a list, not a record"),
        (b'{"version": 1, "stages": {}}', "has no config, so it is not a record"),
        (b'{"version": 1, "config": {}, "stages": null}', "has no stages, so it is not a record"),
        (
            b'{"version": 7, "config": {}, "stages": {}}',
            "is a record of version 7; this isoprune reads version 1",
        ),
    ],
)
def test_a_file_that_is_no_record_is_named(tmp_path, content, message):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(IsopruneError, match=f"{re.escape(str(path))} {message}") as caught:
        load_records(path)
    assert "\n" not in str(caught.value)


def test_missing_and_empty_places_say_what_to_give(tmp_path):
    with pytest.raises(IsopruneError, match="No such file or directory"):
        load_records(tmp_path / "nothing")
    with pytest.raises(IsopruneError, match=r"No record\.json below"):
        load_records(tmp_path)
