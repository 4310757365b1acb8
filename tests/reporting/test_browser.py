"""The page in a browser: silent, alone, and doing what its reader asks."""

from __future__ import annotations

import pytest

from isoprune.reporting import report
from reporting.browsing import draw_all
from reporting.records import lr_effect, record


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    ratios = [
        record(seed=seed, ratio=ratio, lr=lr)
        for seed in (0, 1)
        for ratio in (0.3, 0.9)
        for lr in (1e-2, 1e-3)
    ]
    return {
        "lr": report(lr_effect(2), folder / "lr.html"),
        "ratios": report(ratios, folder / "ratios.html"),
    }


def _lines(page, chart="#network-1-accuracy"):
    page.locator(f"{chart} svg.marks").wait_for()
    return page.locator(f"{chart} g.mark-line path")


def test_every_chart_is_drawn_in_silence(opened, study):
    page = opened(study["lr"])
    draw_all(page)
    assert page.locator("svg.marks").count() == 9  # four of each network, and the learning rates
    assert _lines(page).count() == 6


def test_legend_entries_toggle_their_series_in_both_charts(opened, study):
    page = opened(study["lr"])
    draw_all(page)
    entry = page.locator("#network-1 .legend button").nth(1)
    before = _lines(page).count()
    entry.click()
    assert entry.get_attribute("aria-pressed") == "false"
    page.wait_for_function("document.querySelectorAll('#network-1-accuracy g.mark-line path').length === 5")
    page.wait_for_function("document.querySelectorAll('#network-1-jsv g.mark-line path').length === 5")
    # The other network's charts are another legend's.
    assert _lines(page, "#network-2-accuracy").count() == 6
    entry.click()
    page.wait_for_function(
        f"document.querySelectorAll('#network-1-accuracy g.mark-line path').length === {before}"
    )


def test_double_click_isolates_a_series_and_hiding_the_last_shows_all(opened, study):
    page = opened(study["lr"])
    draw_all(page)
    entry = page.locator("#network-1 .legend button").first
    entry.dblclick()
    page.wait_for_function("document.querySelectorAll('#network-1-accuracy g.mark-line path').length === 1")
    entry.click()
    page.wait_for_function("document.querySelectorAll('#network-1-accuracy g.mark-line path').length === 6")


def test_hover_shows_the_numbers_of_every_series(opened, study):
    page = opened(study["lr"])
    draw_all(page)
    chart = page.locator("#network-1-accuracy")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    for step in (0, 3):
        page.mouse.move(box["x"] + box["width"] / 2 + step, box["y"] + 150)
    tooltip = page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    told = tooltip.inner_text()
    assert "epoch" in told
    assert told.count("±") == 6
    assert "undefined" not in told


def test_control_and_wheel_zoom_and_double_click_resets(opened, study):
    page = opened(study["lr"])
    draw_all(page)
    chart = page.locator("#network-1-accuracy")
    chart.scroll_into_view_if_needed()
    path = _lines(page).first
    whole = path.get_attribute("d")
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 150)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    has = "([path, d, same]) => (document.querySelector(path).getAttribute('d') === d) === same"
    selector = "#network-1-accuracy g.mark-line path"
    page.wait_for_function(has, arg=[selector, whole, False])
    page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + 150)
    page.wait_for_function(has, arg=[selector, whole, True])


def test_wheel_alone_scrolls_the_page_over_a_chart(opened, study):
    page = opened(study["lr"])
    draw_all(page)
    chart = page.locator("#network-1-accuracy")
    chart.scroll_into_view_if_needed()
    box, start = chart.bounding_box(), page.evaluate("scrollY")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 150)
    page.mouse.wheel(0, 200)
    page.wait_for_function(f"scrollY > {start}")


def test_ratio_buttons_change_the_charts_and_the_numbers(opened, study):
    page = opened(study["ratios"])
    draw_all(page)
    assert _lines(page, "#jsv-ratio").count() == 1
    jsv = page.locator("#network-1 .stage:visible b").nth(2)
    before, drawn = jsv.inner_text(), _lines(page).first.get_attribute("d")
    page.locator("#network-1 .ratios label", has_text="0.3").click()
    page.wait_for_function(
        "d => document.querySelector('#network-1-accuracy g.mark-line path').getAttribute('d') !== d",
        arg=drawn,
    )
    assert float(page.locator("#network-1 .stage:visible b").nth(2).inner_text()) > float(before)


def test_dark_mode_changes_page_and_charts_while_open_and_keeps_the_choice(opened, study):
    page = opened(study["lr"], color_scheme="light")
    draw_all(page)
    page.locator("#network-1 .legend button").nth(1).click()
    look = """() => {
      const line = document.querySelector('#network-1-accuracy g.mark-line path');
      const label = document.querySelector('#network-1-accuracy g.role-axis-label text');
      const paper = getComputedStyle(document.body).backgroundColor;
      return [paper, line.getAttribute('stroke'), label.getAttribute('fill')];
    }"""
    light = page.evaluate(look)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "old => document.querySelector('#network-1-accuracy g.mark-line path[stroke]')"
        "?.getAttribute('stroke') !== old",
        arg=light[1],
    )
    assert all(one != other for one, other in zip(light, page.evaluate(look), strict=True))
    assert _lines(page).count() == 5


@pytest.mark.parametrize("name", ["lr", "ratios"])
def test_phone_has_no_sideways_scroll_but_in_tables(opened, study, name):
    page = opened(study[name], viewport={"width": 375, "height": 740}, has_touch=True, is_mobile=True)
    draw_all(page)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    table = page.locator("#results .scroll")
    assert table.evaluate("each => each.scrollWidth > each.clientWidth")
    for chart in page.locator(".chart svg.marks").all():
        assert chart.evaluate("each => each.getBoundingClientRect().right") <= 375


def test_hostile_names_do_nothing_in_a_browser(opened, tmp_path):
    hostile = (
        """</script><script>document.title="broken"</script><img src=x onerror="document.title='broken'">"""
    )
    records = lr_effect(1)[:4]
    for one in records:
        one.config["model"]["name"] = hostile
        if one.config["repair"]["name"] == "orthp":
            one.config["repair"]["name"] = hostile
    page = opened(report(records, tmp_path / "page.html", title="safe"))
    draw_all(page)
    chart = page.locator("#network-1-accuracy")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    for step in (0, 3):
        page.mouse.move(box["x"] + box["width"] / 2 + step, box["y"] + 150)
    page.locator("#vg-tooltip-element.visible").wait_for()
    assert page.title() == "safe · isoprune"
    assert page.locator("img").count() == 0


@pytest.mark.matrix
def test_a_single_run_is_drawn(opened, tmp_path):
    page = opened(report([record()], tmp_path / "page.html"))
    draw_all(page)
    assert page.locator("svg.marks").count() == 5
