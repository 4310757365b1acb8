"""The page of a diagnosis in a browser: silent, alone, readable on a phone and in the dark."""

from __future__ import annotations

import pytest

from isoprune.reporting import diagnosis_page
from reporting.browsing import draw_all
from reporting.diagnoses import diagnosis

PHONE = {"viewport": {"width": 375, "height": 740}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diagnosis")
    return {
        "exact": diagnosis_page(diagnosis(), folder / "exact.html"),
        "estimated": diagnosis_page(diagnosis(estimated=True, layers=60), folder / "estimated.html"),
        "alone": diagnosis_page(diagnosis(compared=False, layers=0, restored=[]), folder / "alone.html"),
    }


@pytest.mark.parametrize(("name", "charts"), [("exact", 3), ("estimated", 2), ("alone", 2)])
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


@pytest.mark.parametrize("name", ["exact", "estimated", "alone"])
def test_phone_has_no_sideways_scroll_but_in_tables(opened, pages, name):
    page = opened(pages[name], **PHONE)
    draw_all(page)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    for chart in page.locator(".chart svg.marks").all():
        assert chart.evaluate("each => each.getBoundingClientRect().right") <= 375


def test_dark_mode_changes_page_verdict_and_charts(opened, pages):
    page = opened(pages["exact"], color_scheme="light")
    draw_all(page)
    look = """() => [
      getComputedStyle(document.body).backgroundColor,
      getComputedStyle(document.querySelector('h1'), '::before').backgroundColor,
      document.querySelector('#gains g.role-axis-label text').getAttribute('fill'),
    ]"""
    light = page.evaluate(look)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "old => document.querySelector('#gains g.role-axis-label text')?.getAttribute('fill') !== old",
        arg=light[2],
    )
    assert all(one != other for one, other in zip(light, page.evaluate(look), strict=True))


def test_thresholds_and_settings_are_folded_until_asked_for(opened, pages):
    page = opened(pages["exact"])
    table = page.locator("#details .scroll").first
    assert not table.is_visible()
    page.locator("#details summary").first.click()
    assert table.is_visible()
