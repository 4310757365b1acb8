"""The page of advice in a browser: silent, alone, readable on a phone and in the dark."""

from __future__ import annotations

import pytest

from isoprune.reporting import advice_page
from reporting.advices import advice
from reporting.browsing import PHONE, assert_dark_mode_changes, assert_no_sideways_scroll, draw_all


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("advice")
    long = {"Python": "isoprune.retrain(network, splits, " + "option=0.1234567, " * 20 + ")"}
    return {
        "usual": advice_page(advice(), folder / "usual.html"),
        "one": advice_page(advice(1.0, lr=0.003, copy=long), folder / "one.html"),
        "lost": advice_page(advice(0.1, None, lr=0.003, learns=False), folder / "lost.html"),
    }


@pytest.mark.parametrize("name", ["usual", "one", "lost"])
def test_both_charts_are_drawn_in_silence(opened, pages, name):
    page = opened(pages[name])
    draw_all(page)
    assert page.locator("svg.marks").count() == 2
    assert page.locator("h1").inner_text().startswith("lr\u00a0=\u00a00.")


def test_probes_tell_their_numbers_on_hover_and_the_advised_one_is_named(opened, pages):
    page = opened(pages["usual"])
    draw_all(page)
    words = page.locator("#accuracies svg text").all_text_contents()
    assert {"advised", "diverged", "before any step", "most frequent class"} <= set(words)
    point = page.locator("#accuracies g.mark-symbol path").first
    point.scroll_into_view_if_needed()
    point.hover()
    tooltip = page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    assert "40.0 % (" in tooltip.inner_text()
    assert "undefined" not in tooltip.inner_text()


@pytest.mark.parametrize("name", ["usual", "one", "lost"])
def test_phone_has_no_sideways_scroll_but_in_tables(opened, pages, name):
    assert_no_sideways_scroll(opened(pages[name], **PHONE))


@pytest.mark.matrix
def test_dark_mode_changes_page_and_charts(opened, pages):
    assert_dark_mode_changes(opened(pages["usual"], color_scheme="light"), "accuracies")
