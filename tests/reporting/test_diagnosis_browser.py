"""The page of a diagnosis in a browser: silent, alone, readable on a phone and in the dark."""

from __future__ import annotations

import pytest

from isoprune.reporting import diagnosis_page
from reporting.browsing import PHONE, assert_dark_mode_changes, assert_no_sideways_scroll, draw_all
from reporting.diagnoses import diagnosis, expected


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diagnosis")
    return {
        "exact": diagnosis_page(diagnosis(), folder / "exact.html"),
        "estimated": diagnosis_page(diagnosis(estimated=True, layers=60), folder / "estimated.html"),
        "forecast": diagnosis_page(diagnosis(forecast=expected()), folder / "forecast.html"),
        "alone": diagnosis_page(diagnosis(compared=False, layers=0, restored=[]), folder / "alone.html"),
    }


@pytest.mark.parametrize(("name", "charts"), [("exact", 3), ("estimated", 2), ("forecast", 4), ("alone", 2)])
def test_every_chart_is_drawn_in_silence(opened, pages, name, charts):
    page = opened(pages[name])
    draw_all(page)
    assert page.locator("svg.marks").count() == charts
    assert page.locator("h1").inner_text() == "Collapsed"


def test_every_layer_has_its_name_and_its_number_on_hover(opened, pages):
    page = opened(pages["exact"])
    draw_all(page)
    labels = page.locator("#gains g.role-axis-label text").all_text_contents()
    assert {f"blocks.{i}.conv" for i in range(6)} <= set(labels)
    points = page.locator("#gains g.mark-symbol path")
    points.last.scroll_into_view_if_needed()
    points.last.hover()
    tooltip = page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    assert "share of the loss" in tooltip.inner_text()
    assert "undefined" not in tooltip.inner_text()


@pytest.mark.parametrize("name", ["exact", "estimated", "forecast", "alone"])
def test_phone_has_no_sideways_scroll_but_in_tables(opened, pages, name):
    assert_no_sideways_scroll(opened(pages[name], **PHONE))


def test_dark_mode_changes_page_verdict_and_charts(opened, pages):
    assert_dark_mode_changes(opened(pages["exact"], color_scheme="light"), "gains")


@pytest.mark.matrix
def test_thresholds_and_settings_are_folded_until_asked_for(opened, pages):
    page = opened(pages["exact"])
    table = page.locator("#details .scroll").first
    assert not table.is_visible()
    page.locator("#details summary").first.click()
    assert table.is_visible()
