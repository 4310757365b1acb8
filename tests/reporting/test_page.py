"""The page as a file: whole, alone, small, and deaf to hostile names."""

from __future__ import annotations

import html.parser
import json
import re

import pytest
from msgspec.structs import replace

from isoprune.reporting import report
from isoprune.reporting.html import _bundle
from isoprune.types import IsopruneError
from isoprune.types.record import UnitsRemoved
from reporting.records import jsv_vs_ratio, lr_effect, record

HOSTILE = '</script><script>document.title="broken"</script><img src=x onerror=alert(1)>'


class _Outline(html.parser.HTMLParser):
    """What a browser would act on: elements, their addresses, and the text of scripts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.links, self.scripts, self._open = [], [], [], None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("src", "href", "action", "data")]
        self._open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self._open == "script":
            self.scripts[-1] += data

    def handle_endtag(self, tag):
        self._open = None if tag == self._open else self._open


def test_page_holds_everything_and_points_nowhere_else(tmp_path):
    page = report(lr_effect(), tmp_path / "page.html").read_text()
    outline = _Outline(page)
    assert all(link.startswith("#") or link == "data:," for link in outline.links)
    assert "@import" not in page.replace(_bundle(), "")
    assert not re.search(r"https?://", page.replace(_bundle(), ""))
    assert "default-src 'none'" in page
    targets = set(re.findall(r'id="([^"]+)"', page))
    assert {link[1:] for link in outline.links if link.startswith("#")} <= targets


@pytest.mark.parametrize("records", [lr_effect(), jsv_vs_ratio()], ids=["lr_effect", "jsv_vs_ratio"])
def test_page_is_small(tmp_path, records):
    assert report(records, tmp_path / "page.html").stat().st_size < 1_500_000


def test_a_seed_more_adds_no_curve(tmp_path):
    few, many = (
        [record(seed=seed, lr=lr) for lr in (1e-2, 1e-3) for seed in range(seeds)] for seeds in (2, 10)
    )
    sizes = [report(studied, tmp_path / "page.html").stat().st_size for studied in (few, many)]
    # A run has a row in the list of runs and a tick; its 31 epochs are in the means.
    assert sizes[1] - sizes[0] < 16 * 600


def test_hostile_names_stay_text(tmp_path):
    records = [record(repair=repair, lr=lr) for repair in ("none", "orthp") for lr in (1e-2, 1e-3)]
    clean = _Outline(report(records, tmp_path / "clean.html").read_text())
    records = [replace(one, name=HOSTILE) for one in records]
    for one in records:
        one.config["model"]["name"] = HOSTILE
        one.config["data"]["name"] = HOSTILE
        one.config["repair"]["name"] = HOSTILE if one.config["repair"]["name"] == "orthp" else "none"
        one.removals[0].units[0] = UnitsRemoved(HOSTILE, 100, 80)
        one.environment["platform"] = HOSTILE
    outline = _Outline(report(records, tmp_path / "page.html").read_text())
    assert set(outline.tags) == set(clean.tags)
    assert len(outline.scripts) == len(clean.scripts) == 3
    data = json.loads(outline.scripts[0])
    drawn = json.dumps(data)
    assert "onerror" in drawn  # it is in the charts, as text
    assert "<" not in outline.scripts[0]


def test_numbers_that_json_does_not_have_become_null(tmp_path):
    one = record()
    one.network("pruned").jsv["condition"] = float("inf")
    one.network("pruned").jsv["mean"] = float("nan")
    one.network("retrained").history[3]["jsv_mean"] = float("nan")
    scripts = _Outline(report([one], tmp_path / "page.html").read_text()).scripts
    json.loads(scripts[0], parse_constant=pytest.fail)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.network("retrained").history.clear(),
        lambda one: one.removals.clear(),
        lambda one: one.removals[0].units.clear(),
        lambda one: one.removals[0].ratios.clear(),
        lambda one: one.removals[0].proof.clear(),
        lambda one: one.environment.clear(),
        lambda one: one.seconds.clear(),
        lambda one: one.labels.clear(),
        lambda one: one.networks.pop(),
        lambda one: one.networks.clear(),
        lambda one: one.config.pop("retrain"),
        lambda one: one.config.pop("seed"),
    ],
)
def test_a_record_without_a_part_is_reported_without_it(tmp_path, change):
    one = record()
    change(one)
    page = report([one], tmp_path / "page.html").read_text()
    assert "mlp_7 linear" in page
    assert "nan" not in _Outline(page).scripts[0].lower()


def test_title_and_unfinished_runs_are_told(tmp_path):
    running = replace(record(seed=1), status="running")
    page = report([record(), running], tmp_path / "page.html", title="Mine & <yours>").read_text()
    assert "<h1>Mine &amp; &lt;yours&gt;</h1>" in page
    assert "1 unfinished, left out" in page


def test_a_directory_gets_an_index(tmp_path):
    assert report([record()], tmp_path / "new" / "place") == tmp_path / "new" / "place" / "index.html"


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(IsopruneError, match=r"The page cannot be written to .*Give another place"):
        report([record()], tmp_path / "file" / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_same_records_give_the_same_page(tmp_path):
    records = [record(seed=0), record(seed=1), record(repair="orthp")]
    first = report(records, tmp_path / "a.html").read_bytes()
    assert report(records, tmp_path / "b.html").read_bytes() == first


def test_the_page_of_one_setting_has_a_card_of_the_retrained_network(tmp_path):
    one = record(repair="orthp")
    page = report([one], tmp_path / "one.html").read_text()
    [card] = re.findall(r"<h3><span>retrained</span></h3>(.*?)</div>", page, re.DOTALL)
    assert f"<b>{100 * one.network('retrained').metrics['test_accuracy']:.2f}</b> % test accuracy" in card
    assert "<span>retrained</span>" not in report(lr_effect(), tmp_path / "all.html").read_text()
