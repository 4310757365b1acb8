"""The charts of a panel: what a logarithmic axis shows of a network that has died."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from isoprune.reproduction import figures
from isoprune.reproduction.claims import Value
from reproduction.made import records, reproduction

JSV = Value("mean JSV", "retrained.jsv.mean", percent=False, log=True)
STUDY = dataclasses.replace(reproduction(), value=JSV)


def drawn(values):
    found = figures.ours(STUDY, STUDY.cells(records(values)), "net", list(values))
    return {} if found is None else {row["row"]: row for row in found.tables["rows"]}


def test_the_interval_of_a_logarithmic_value_is_that_of_its_logarithms():
    row = drawn({"a": [0.1, 1.0, 10.0]})["a"]
    assert row["mean"] == pytest.approx(3.7)
    assert row["low"] * row["high"] == pytest.approx(1.0)  # around the geometric mean, which is 1
    assert 0 < row["low"] < row["mean"] < row["high"]


def test_a_mean_with_a_zero_in_it_has_no_bar():
    row = drawn({"a": [0.2, 0.0]})["a"]
    assert (row["low"], row["mean"], row["high"]) == (0.1, 0.1, 0.1)


def test_a_mean_of_zero_is_not_drawn():
    assert list(drawn({"a": [0.0, 0.0], "b": [1.0, 1.0]})) == ["b"]
    assert drawn({"a": [0.0, 0.0]}) == {}


def test_a_value_on_a_linear_axis_may_be_zero():
    study = dataclasses.replace(STUDY, value=dataclasses.replace(JSV, log=False))
    found = figures.ours(study, study.cells(records({"a": [0.0, 2.0]})), "net", ["a"])
    (row,) = found.tables["rows"]
    assert row["low"] < 0 < row["mean"] == np.mean([0.0, 2.0])
