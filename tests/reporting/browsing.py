"""What tests of pages do in a browser."""


def draw_all(page):
    """Scroll every chart into view and wait until it is drawn."""
    charts = page.locator(".chart")
    for number in range(charts.count()):
        charts.nth(number).scroll_into_view_if_needed()
        charts.nth(number).locator("svg.marks").wait_for()


PHONE = {"viewport": {"width": 375, "height": 740}, "has_touch": True, "is_mobile": True}


def assert_no_sideways_scroll(page):
    """With all open and drawn, no chart is wider than a phone, and nothing but tables scrolls sideways."""
    draw_all(page)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    for chart in page.locator(".chart svg.marks").all():
        assert chart.evaluate("each => each.getBoundingClientRect().right") <= 375


def assert_dark_mode_changes(page, chart):
    """Page, heading and the labels of ``chart`` have other colours in the dark."""
    draw_all(page)
    label = f"document.querySelector('#{chart} g.role-axis-label text')"
    look = f"""() => [
      getComputedStyle(document.body).backgroundColor,
      getComputedStyle(document.querySelector('h1'), '::before').backgroundColor,
      {label}.getAttribute('fill'),
    ]"""
    light = page.evaluate(look)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"old => {label}?.getAttribute('fill') !== old", arg=light[2])
    assert all(one != other for one, other in zip(light, page.evaluate(look), strict=True))
