"""Ten thousand records: a page that a browser opens and a reader can use, and a table of the same numbers."""

from __future__ import annotations

import itertools
import statistics

import pytest

from isoprune.reporting import report
from isoprune.reporting.pivots import pivot
from reporting.browsing import draw_all
from reporting.records import record

pytestmark = [pytest.mark.matrix, pytest.mark.xdist_group("ten thousand records")]

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
REPAIRS = (
    "none",
    "orthp",
    "polar",
    "spectrum",
    "rescale",
    "lsuv",
    "balance",
    "reconstruct",
    "auto",
    "scratch",
)
RATES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)


@pytest.fixture(scope="module")
def records():
    places = itertools.product(("mlp_7", "lenet_5"), ("linear", "relu"), RATIOS, REPAIRS, RATES, range(5))
    return [
        record(model=model, activation=activation, ratio=ratio, repair=repair, lr=lr, seed=seed, epochs=10)
        for model, activation, ratio, repair, lr, seed in places
    ]


@pytest.fixture(scope="module")
def page(records, tmp_path_factory):
    return report(records, tmp_path_factory.mktemp("many") / "index.html")


def test_the_page_is_small_enough_to_be_sent(page):
    assert page.stat().st_size < 20e6


def test_a_browser_draws_it_and_its_legend_answers(opened, page):
    tab = opened(page)
    draw_all(tab)
    entry = tab.locator("#network-1 .legend button").first
    entry.click()
    assert entry.get_attribute("aria-pressed") == "false"
    tab.locator("nav a").last.click()
    tab.wait_for_function("window.scrollY > 0")


def test_the_table_is_the_mean_of_the_records(records):
    table = pivot(records, rows="ratio", columns="model,repair,lr")
    assert len(table.cells) == 2000
    asked = {"model": records[0].config["model"], "ratio": 0.9, "repair": "orthp", "lr": 0.01}

    def told(config):
        ratio, repair = config["prune"]["ratio"], config["repair"]["name"]
        return {"model": config["model"], "ratio": ratio, "repair": repair, "lr": config["retrain"]["lr"]}

    chosen = [r.network("retrained").metrics["test_accuracy"] for r in records if told(r.config) == asked]
    head = next(
        h for h in table.heads if "linear" in h[0] and "mlp_7" in h[0] and h[2] == "0.01" and "orthp" in h[1]
    )
    assert len(chosen) == 5
    assert table.summary(("0.9",), head).mean == pytest.approx(statistics.fmean(chosen), abs=1e-12)
