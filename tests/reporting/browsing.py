"""What tests of pages do in a browser."""


def draw_all(page):
    """Scroll every chart into view and wait until it is drawn."""
    charts = page.locator(".chart")
    for number in range(charts.count()):
        charts.nth(number).scroll_into_view_if_needed()
        charts.nth(number).locator("svg.marks").wait_for()
