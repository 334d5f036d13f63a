"""The page in headless Chromium: one browser, one file, each test from a fresh load of it."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest
from page_rows import HOSTILE, absurd_rows, page_rows, published

from lightvit_bench.bench.parts import ModelSize, Recipe
from lightvit_bench.leaderboard.boards import boards_of
from lightvit_bench.leaderboard.browser import headless, missing
from lightvit_bench.leaderboard.page import page_html
from lightvit_bench.leaderboard.rows import Row, Score, Speed

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

ADE = "segmentation/ADE20K/ade20k-val@single-scale/published"
MEASURED = "segmentation/ADE20K/ade20k-val@single-scale/measured"
TIMES = "tracking-latency/bag/measured/A-CPU-2-cores"


class Page:
    """The page as a reader has it: what is shown, what is clicked and typed."""

    def __init__(self, chrome, url: str):
        self.chrome, self.url = chrome, url

    def open(self, hash_: str = "") -> None:
        self.chrome.get("about:blank")
        self.chrome.get(self.url + hash_)

    def js(self, script: str, *arguments):
        return self.chrome.execute_script(script, *arguments)

    def one(self, selector: str):
        return self.chrome.find_element("css selector", selector)

    def click(self, selector: str) -> None:
        self.js("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        self.one(selector).click()

    def choose(self, name: str, value: str) -> None:
        script = """const one = document.getElementById(arguments[0]);
            one.value = arguments[1]; one.dispatchEvent(new Event('change'))"""
        self.js(script, name, value)

    def keys(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.chrome).send_keys(*keys).perform()

    def board(self, board: str) -> str:
        return f"article[data-board='{board}']"

    def rows(self, board: str) -> list[str]:
        """Keys of the rows of a board's table, from above."""
        script = """const board = document.querySelector(arguments[0]);
            return board.hidden ? [] : [...board.querySelectorAll('tbody a.model')]
                .map(a => a.dataset.row)"""
        return self.js(script, self.board(board))

    def all_rows(self) -> list[str]:
        return self.js(
            "return [...document.querySelectorAll('#boards article:not([hidden]) a.model')]"
            ".map(a => a.dataset.row)"
        )

    def head(self, board: str, title: str):
        """The button that sorts by a column."""
        for button in self.one(self.board(board)).find_elements("css selector", "thead button"):
            if button.text.startswith(title):
                return button
        raise AssertionError(f"no column {title}")

    def sorted_by(self, board: str) -> list[list[str]]:
        script = """return [...document.querySelectorAll(arguments[0] + ' [aria-sort]')]
            .map(th => [th.textContent, th.getAttribute('aria-sort')])"""
        return self.js(script, self.board(board))

    def text(self, selector: str) -> str:
        return self.one(selector).text

    def with_rows(self, rows, folder: Path) -> Page:
        """Another page in the same browser, opened."""
        path = folder / "other.html"
        path.write_text(page_html(boards_of(rows)), encoding="utf-8")
        other = Page(self.chrome, path.as_uri())
        other.open()
        return other

    def hash(self) -> str:
        return self.js("return location.hash")

    def until(self, script: str, wanted, why: str = "") -> None:
        """Wait for what the browser does in its own time: a step in its history."""
        end = time.monotonic() + 5
        while self.js(f"return {script}") != wanted and time.monotonic() < end:
            time.sleep(0.01)
        assert self.js(f"return {script}") == wanted, why


@pytest.fixture(scope="module")
def chrome():
    with headless() as browser:
        yield browser


@pytest.fixture(scope="module")
def opened(chrome, tmp_path_factory) -> Page:
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(page_html(boards_of(page_rows())), encoding="utf-8")
    return Page(chrome, path.as_uri())


@pytest.fixture
def page(opened):
    """The page, freshly loaded; afterwards, nothing may have been said on the console."""
    opened.chrome.get_log("browser")
    opened.open()
    opened.js("try { localStorage.clear() } catch (error) {}")
    yield opened
    assert opened.chrome.get_log("browser") == []


def test_opens_from_disk_and_asks_nobody(page):
    page.chrome.get_log("performance")
    page.open()
    logged = [json.loads(one["message"])["message"] for one in page.chrome.get_log("performance")]
    asked = [
        one["params"]["request"]["url"]
        for one in logged
        if one["method"] == "Network.requestWillBeSent"
    ]
    assert page.url in asked, "the log sees requests"
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    assert page.js("return performance.getEntriesByType('resource').length") == 0
    assert page.text("#count") == "68 rows in 4 tables"


def test_sorting_is_within_one_table(page):
    times, first = page.rows(TIMES), page.rows(ADE)
    assert first == ["b", "a", "d", "c", "evil"]
    assert page.sorted_by(ADE) == [["#", "ascending"]]
    page.head(ADE, "Backbone").click()
    assert page.rows(ADE) == ["a", "b", "evil", "d", "c"], "unknown ones last, by rank"
    assert page.sorted_by(ADE) == [["Backbone", "ascending"]]
    page.head(ADE, "Backbone").click()
    assert page.rows(ADE) == ["evil", "b", "a", "d", "c"]
    assert page.sorted_by(ADE) == [["Backbone", "descending"]]
    page.head(ADE, "Backbone").click()
    assert page.rows(ADE) == first
    assert page.rows(TIMES) == times and page.sorted_by(TIMES) == [["#", "ascending"]]


def test_sorting_by_keyboard_keeps_the_focus_and_incomplete_rows_last(page):
    page.js("arguments[0].focus()", page.head(MEASURED, "mIoU"))
    page.keys("\ue007")  # Enter
    assert page.rows(MEASURED) == ["measured/m1", "measured/m2"], "45.0 of 1203 images is no best"
    page.keys(" ")
    assert page.sorted_by(MEASURED) == [["mIoU (%)", "ascending"]]
    assert page.js("return document.activeElement.textContent") == "mIoU (%)"


def test_incomplete_rows_are_marked_and_have_no_rank(page):
    cells = page.js(
        "return [...document.querySelectorAll(arguments[0] + ' tbody tr')]"
        ".map(tr => tr.cells[0].textContent + ' ' + tr.cells[1].textContent)",
        page.board(MEASURED),
    )
    assert cells[0].startswith("1 m1") and "incomplete" not in cells[0]
    assert cells[1].startswith("– m2") and "incomplete: 1,203 of 2,000" in cells[1]


def test_remarks_of_all_rows_are_said_once_and_others_in_their_rows(page):
    assert "1 remark on all rows: decoders differ" in page.text(f"{page.board(ADE)} .shared")
    first = page.one(f"{page.board(ADE)} a[data-row='a'] ~ .remark").text
    assert first.split("\n") == ["Remark:", "starts from a checkpoint tuned with labels"]


def test_choices_select_rows_and_say_how_many_each_would_give(page):
    assert page.js("return [...document.getElementById('origin').options].map(o => o.text)") == [
        "all", "measured here (62)", "published elsewhere (6)",
    ]  # fmt: skip
    page.choose("origin", "published")
    assert page.text("#count") == "6 of 68 rows in 2 tables"
    assert page.rows(TIMES) == [] and page.rows(ADE)[0] == "b"
    page.choose("pre", "TinyMIM")
    assert page.all_rows() == ["b"]
    page.choose("pre", "")
    page.choose("head", "Semantic FPN")
    assert page.all_rows() == ["a"]
    page.click("#reset")
    assert page.text("#count") == "68 rows in 4 tables"
    page.js("document.querySelector('#tasks input[value=tracking]').click()")
    assert page.all_rows() == ["lasot/x"]
    assert (
        page.js("return document.querySelectorAll('#boards > section:not([hidden])').length") == 1
    )


def test_rank_stays_the_boards_own_when_rows_are_hidden(page):
    page.open("#q=D%C2%B2-MAE")
    assert page.all_rows() == ["a"]
    assert page.one(f"{page.board(ADE)} tbody .rank").text == "2"


def test_budget_counts_what_is_asked_for_and_tells_of_the_unknown(page):
    page.choose("data", "ADE20K")
    page.choose("origin", "published")
    page.one("#budget").send_keys("5.6")
    assert page.all_rows() == ["a"]
    assert page.text("#unknown-label") == "keep 2 rows whose parameters nobody says"
    page.click("#unknown")
    assert page.all_rows() == ["a", "d", "c"]
    page.click("#unknown")
    page.choose("of", "total")
    assert page.all_rows() == ["c"], "a has 8 M in total"
    page.choose("of", "known")
    assert page.all_rows() == ["c"]
    page.one("#budget").clear()
    page.one("#budget").send_keys("-1")
    assert page.one("#budget").get_attribute("aria-invalid") == "true"
    assert len(page.all_rows()) == 5, "no budget"


def test_search_looks_at_names_sources_and_remarks(page):
    page.one("#q").send_keys("paper A, labels")
    assert page.all_rows() == ["a"]
    page.one("#q").clear()
    page.one("#q").send_keys("no such thing")
    assert page.text("#count") == "No row of 68 fits." and page.all_rows() == []
    assert page.one("#count").get_attribute("role") == "status"


def test_search_finds_what_people_type(page, tmp_path):
    measured = Row(
        key="ours",
        origin="measured",
        task="tracking",
        dataset="LaSOT",
        split="test",
        protocol="lasot-ope-test280@toolkit",
        model="OSTrack",
        scores={"auc": Score(60.0)},
        config="configs/lasot/some_tracker.py",
        commit="0123abcd" * 5,
        checkpoint_sha256="fe" * 32,
        environment={"machine": "EPYC 9654, 2 cores"},
    )
    speed = Speed(31.0, "frames/s", "Intel i9-14900KF", "cpu", source="Another paper, table 9")
    rows = [
        published("squared", 42.8, recipe=Recipe("D²-MAE"), url="https://example.org/Abc-1"),
        published("typed", 41.0, model="ViT D2-MAE", speeds=(speed,)),
        published("accent", 40.0, model="Pokémon\u2011Net"),
        measured,
    ]
    other = page.with_rows(rows, tmp_path)
    for typed, wanted in {
        "D2-MAE": {"squared", "typed"},
        "d²-mae": {"squared", "typed"},
        "pokemon-net": {"accent"},
        "POKÉMON": {"accent"},
        "i9-14900kf": {"typed"},
        "another paper": {"typed"},
        "example.org/abc-1": {"squared"},
        "some_tracker.py": {"ours"},
        "@toolkit": {"ours"},
        "0123abcd0123": {"ours"},
        "fefefe": {"ours"},
        "epyc": {"ours"},
    }.items():
        other.js(
            "const q = document.getElementById('q'); q.value = arguments[0];"
            "q.dispatchEvent(new Event('input'))",
            typed,
        )
        assert set(other.all_rows()) == wanted, typed


def test_a_page_without_rows_says_so(page, tmp_path):
    other = page.with_rows([], tmp_path)
    assert other.text("#count") == "The leaderboard has no rows."


def test_a_link_gives_the_same_view_and_back_goes_back(page):
    page.choose("origin", "published")
    page.head(ADE, "Total").click()
    page.choose("chart-x", "backbone")
    page.one("#budget").send_keys("9")
    page.click("#unknown")
    rows = page.rows(ADE)
    link = page.js("return location.href")
    x = page.one("#chart-x").get_attribute("value")
    assert rows == ["c", "a", "b", "d", "evil"]
    page.chrome.get("about:blank")
    page.chrome.get(link)
    assert page.rows(ADE) == rows and page.rows(MEASURED) == []
    assert page.one("#budget").get_attribute("value") == "9"
    assert page.one("#origin").get_attribute("value") == "published"
    assert page.one("#chart-x").get_attribute("value") == x == "backbone"
    assert page.sorted_by(ADE) == [["Total", "ascending"]]
    page.choose("origin", "measured")
    assert page.rows(ADE) == []
    page.chrome.back()
    assert page.rows(ADE) == rows
    page.chrome.forward()
    assert page.rows(ADE) == []


def test_a_link_that_says_nonsense_shows_the_page(page):
    page.open("#task=&nope=1&%E0=%E0&sort=x&sort=a~b~up&all=zzz&of=all&row=gone&__proto__=1")
    assert page.text("#count") == 'There is no row "gone".'
    assert len(page.rows(ADE)) == 5


def test_long_tables_show_their_first_rows_until_asked(page):
    assert len(page.rows(TIMES)) == 50
    more = f"{page.board(TIMES)} .all"
    assert page.text(more) == "Show all 60 rows (50 are shown)"
    page.click(more)
    assert len(page.rows(TIMES)) == 60
    assert page.js("return location.hash") == f"#all={TIMES}~550"
    page.click(more)
    assert len(page.rows(TIMES)) == 50 and page.js("return location.hash") == ""


def test_details_hold_all_there_is_and_can_be_linked(page):
    page.js("document.querySelector(\"a[data-row='measured/m1']\").focus()")
    page.keys("\ue007")
    dialog = page.text("#details")
    for said in (
        "m1", "measured here", "39.0", "± 0.25", "2,000 of 2,000", "0, 1, 2", "ab" * 32, "m1.json",
        "tools/test.py configs/m1.py m1.pth --record records", "A CPU, 2 cores", "3 x 512 x 512",
        "12.5 ms", "do not carry over", "2,000,000 (2 M)", "Copy command",
    ):  # fmt: skip
        assert said in dialog, said
    curve = page.one("#details .curve svg").get_attribute("aria-label")
    assert curve == "training loss: loss from 3 to 1.5, least 1.5, most 3; iteration 0 to 200"
    assert page.js("return document.querySelector('#details .curve .line').getTotalLength()") > 100
    assert page.js("return location.hash") == "#row=measured/m1"
    page.keys("\ue00c")  # Escape
    assert not page.js("return document.getElementById('details').open")
    page.until("location.hash", "")
    page.until("document.activeElement.dataset.row", "measured/m1", "focus is back")
    page.open("#row=a")
    dialog = page.text("#details")
    assert "CPU not named" in dialog and "starts from a checkpoint tuned with labels" in dialog
    links = page.one("#details").find_elements("css selector", "section a")
    assert [(a.get_attribute("href"), a.get_attribute("rel")) for a in links] == [
        ("https://example.org/a", "noopener noreferrer")
    ]


def test_back_does_not_open_again_what_was_closed(page):
    opened = "document.getElementById('details').open"
    page.choose("origin", "published")
    before = page.js("return history.length")
    for row in ("a", "b", "c"):
        page.click(f"{page.board(ADE)} a[data-row={row}]")
        assert page.hash() == f"#origin=published&row={row}" and page.js(f"return {opened}")
        page.keys("\ue00c")  # Escape
        page.until("location.hash", "#origin=published")
    assert page.js("return history.length") <= before + 1
    page.chrome.back()
    page.until("location.hash", "", "the view before the choice")
    assert not page.js(f"return {opened}") and len(page.rows(MEASURED)) == 2
    page.chrome.forward()
    page.click(f"{page.board(ADE)} a[data-row=b]")
    page.js("window.link = document.querySelector('#boards a[data-row=b]')")
    page.chrome.back()  # as good as Escape
    page.until("location.hash", "#origin=published")
    assert page.js("return link.isConnected"), "the tables stay as they are"
    page.until(opened, False)
    page.until("document.activeElement.dataset.row", "b", "focus is back")
    page.chrome.forward()
    page.until(opened, True)
    page.keys("\ue00c")
    page.until("location.hash", "#origin=published")
    assert page.rows(ADE) and not page.rows(MEASURED)


def test_closing_a_row_that_a_link_opened_leaves_its_view(page):
    page.open("#origin=published&row=a")
    before = page.js("return history.length")
    page.keys("\ue00c")
    page.until("location.hash", "#origin=published")
    assert page.js("return history.length") == before
    page.chrome.back()
    page.until("location.href", "about:blank")


def test_what_is_done_while_the_history_steps_back_is_kept(page):
    page.js(
        """document.querySelector("a[data-row=a]").click();
        const dialog = document.getElementById('details');
        dialog.addEventListener('close', () => {
            document.querySelector("a[data-row=b]").click() }, {once: true});
        dialog.close()"""
    )
    page.until("location.hash", "#row=b")
    assert page.text("#details-title") == "B"
    page.keys("\ue00c")
    page.until("location.hash", "")
    assert not page.js("return document.getElementById('details').open")
    page.chrome.back()
    page.until("location.href", "about:blank", "neither row is in the history")


def test_a_command_says_what_its_dots_stand_for(page, tmp_path):
    said = '"..." stands for a folder outside the project'
    commands = {
        "outside": "tools/test.py a.py .../a.pth",
        "value": "tools/test.py a.py --cfg-options data_root=.../ade",
        "quoted": "tools/test.py a.py '.../a b.pth'",
        "inside": "tools/test.py a.py ../a.pth",
        "up": "tools/test.py a.py and.../so",
    }
    rows = [published(key, 1.0, command=command) for key, command in commands.items()]
    other = page.with_rows(rows, tmp_path)
    for key in commands:
        other.open(f"#row={key}")
        assert (said in other.text("#details .copy")) == (key in ("outside", "value", "quoted")), (
            key
        )


def test_text_of_a_row_stays_text(page):
    cell = page.one(f"{page.board(ADE)} a[data-row=evil]").get_attribute("textContent")
    assert cell == HOSTILE
    page.open("#row=evil")
    assert "<img src=x onerror='window.hacked=1'><!-- {{js}} &" in page.text("#details")
    assert page.one("#details").find_elements("css selector", "a[href^=javascript]") == []
    assert "javascript:window.hacked=2" in page.text("#details"), "as text"
    assert page.js("return [window.hacked ?? null, document.images.length]") == [None, 0]


def beaten(points, higher, i):
    sign = 1 if higher else -1
    (x, y) = points[i]
    return any(
        a <= x and sign * b >= sign * y and (a < x or sign * b > sign * y) for a, b in points
    )


def test_the_front_is_what_brute_force_says(page):
    draw = random.Random(0)
    cases = []
    for _ in range(200):
        count, top = draw.randrange(0, 14), draw.choice((3, 6, 1000))
        points = [(draw.randrange(top), draw.randrange(top)) for _ in range(count)]
        cases.append([points, draw.random() < 0.5])
    assert sum(len(set(points)) < len(points) for points, _ in cases) > 30, "ties are drawn"
    found = page.js(
        """return arguments[0].map(([points, higher]) =>
            leaderboard.paretoFront(points.map(([x, y]) => ({x, y})), higher))""",
        cases,
    )
    for (points, higher), front in zip(cases, found, strict=True):
        wanted = [i for i in range(len(points)) if not beaten(points, higher, i)]
        assert sorted(front) == wanted, (points, higher)


def options(page, name: str) -> list[str]:
    return page.js(
        "return [...document.getElementById(arguments[0]).options].map(o => o.value)", name
    )


def test_chart_is_of_one_board_with_its_front_in_words(page):
    page.choose("chart-board", ADE)
    page.choose("chart-x", "total")
    front = page.js(
        "return [...document.querySelectorAll('#front table tbody tr')].map(tr => tr.innerText)"
    )
    assert [line.split("\t") for line in front] == [
        ["C", "4", "38.0"], ["A, D²-MAE", "8", "42.8"], ["B, TinyMIM", "30", "44.0"],
    ]  # fmt: skip
    note = page.text("#chart-note")
    assert "3 rows of ADE20K, val" in note and "2 rows without these values not drawn" in note
    page.one("#q").send_keys("labels")
    assert "1 row of" in page.text("#chart-note"), "of the rows shown"


def test_chart_begins_with_a_table_that_shows_something(page, tmp_path):
    chosen = "return document.getElementById('chart-board').value"
    lasot = dict(task="tracking", dataset="LaSOT", split="test", protocol="lasot-test@toolkit")
    tracking = [
        published(f"l{i}", 0, scores={"auc": Score(50.0)}, size=ModelSize(10**6 + i), **lasot)
        for i in range(9)
    ]
    other = page.with_rows([*page_rows(), *tracking], tmp_path)
    assert other.js(chosen) == ADE, "though LaSOT has more"
    one = published("a", 42.8, size=ModelSize(5_524_416))
    other = page.with_rows([one, *tracking], tmp_path)
    assert other.js(chosen) == "tracking/LaSOT/lasot-test@toolkit/published"
    other.choose("chart-board", ADE)
    assert other.js(chosen) == ADE


def test_only_measured_times_are_drawn(page):
    page.choose("chart-board", ADE)
    assert options(page, "chart-x") == ["backbone", "total"], "published 41 frames/s and 24 ms"
    page.choose("chart-board", MEASURED)
    assert options(page, "chart-x") == [
        "backbone", "total", "macs:3 x 512 x 512", "latency:network, A CPU, 2 threads",
    ]  # fmt: skip
    assert "1 incomplete row not drawn" in page.text("#chart-note")
    page.choose("chart-board", TIMES)
    assert options(page, "chart-x") == ["track_ms"] and options(page, "chart-y") == ["auc"]


def test_points_can_be_reached_by_keyboard(page):
    page.choose("chart-board", ADE)
    page.choose("chart-x", "backbone")
    marks = page.chrome.find_elements("css selector", "#plot .front")
    assert [mark.get_attribute("data-row") for mark in marks] == ["a", "b"]
    page.js("arguments[0].focus()", marks[0])
    assert page.one("#plot .tip").text.startswith("A, D²-MAE\nmIoU 42.8 %\n")
    assert "on the front" in marks[0].get_attribute("aria-label")
    page.keys("\ue014", "\ue014")  # right, to b and to the one that is not on the front
    label = page.js("return document.activeElement.getAttribute('aria-label')")
    assert "mIoU 10.0 %" in label
    page.keys("\ue012", "\ue007")  # left, Enter
    assert page.js("return location.hash").endswith("row=b")


def test_focus_comes_back_to_the_point_that_opened_a_row(page):
    page.choose("chart-board", ADE)
    page.choose("chart-x", "backbone")
    label = "document.activeElement.getAttribute('aria-label')"
    page.js("document.querySelector('#plot .front[data-row=b]').focus()")
    page.keys("\ue014")  # right, to one that is not on the front
    grey = page.js(f"return {label}")
    assert "mIoU 10.0 %" in grey
    screen = {"width": 900, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    try:
        for narrower in (False, True):
            page.keys("\ue007")  # Enter
            page.until("document.getElementById('details').open", True)
            if narrower:  # as a screen that is turned: the chart is drawn again
                before = page.js("return document.querySelector('#plot svg').getAttribute('width')")
                page.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
                width = "document.querySelector('#plot svg').getAttribute('width')"
                page.until(f"{width} !== '{before}'", True)
            page.keys("\ue00c")  # Escape
            page.until(label, grey)
            assert page.one("#plot .tip").is_displayed()
    finally:
        page.chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.until("innerWidth > 900", True)
    page.until(label, None)  # drawn again once more: nowhere
    page.js("document.querySelector('#plot .front[data-row=b]').focus()")
    page.keys("\ue014")
    page.keys("\ue012")  # and the arrows go on from there
    assert page.js("return document.activeElement.dataset.row") == "b"
    page.keys("\ue007")
    page.until("document.getElementById('details').open", True)
    page.chrome.back()
    page.until("document.activeElement.dataset.row", "b")


# What stands out of the screen, or of the panel it is in; what scrolls in itself may be wider.
STANDS_OUT = """
const out = [];
for (const node of document.querySelectorAll('body *')) {
  if (!node.checkVisibility() || node.closest('.unseen, .skip, option, noscript, script')) continue;
  if (node.parentElement.closest('.rows, #tasks, #boards thead')) continue;
  const box = node.getBoundingClientRect();
  const limit = node.closest('.panel, article, dialog, .wide')?.getBoundingClientRect();
  const right = Math.min(innerWidth, limit ? limit.right : innerWidth);
  if (box.width && (box.right > right + 1 || box.left < (limit ? limit.left : 0) - 1)) {
    out.push([node.tagName, node.className.baseVal ?? node.className, node.id,
      Math.round(box.left), Math.round(box.right), Math.round(right)]);
  }
}
return out.concat(document.documentElement.scrollWidth > innerWidth
  ? [['page', document.documentElement.scrollWidth]] : []);
"""


@pytest.mark.parametrize("width", [1280, 800, 360])
def test_long_words_and_huge_figures_stay_inside(page, tmp_path, width):
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    page.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        other = page.with_rows(absurd_rows(), tmp_path)
        assert other.js(STANDS_OUT) == []
        for across in options(other, "chart-x"):
            other.choose("chart-x", across)
            other.click("#front summary")
            assert other.js(STANDS_OUT) == [], across
        other.choose("chart-board", MEASURED)
        for across in options(other, "chart-x"):
            other.choose("chart-x", across)
            assert other.js(STANDS_OUT) == [], across
        wide = "return Math.max(...[...document.querySelectorAll('.rows')].map(r => r.scrollWidth))"
        assert other.js(wide) < 1900, "no column as wide as a name of 750 letters"
        cut = """return [...document.querySelectorAll('#boards tbody :is(td, th)')]
            .filter(cell => cell.scrollWidth > cell.clientWidth + 1).map(cell => cell.className)"""
        assert other.js(cut) == []
        for hash_ in ("#row=absurd3", "#row=absurd/measured", f"#row={'W' * 200}"):
            other.open(hash_)
            assert other.js(STANDS_OUT) == [], hash_
    finally:
        page.chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_axes_of_any_figures_have_some_ticks(page, tmp_path):
    cases = [
        (1e16, 1e16 + 2),
        (1.0, 1e300),
        (1e308, 1.7e308),
        (5e-324, 1.0),
        (7.0, 7.0),
        (2.0, 9e5),
    ]
    rows = [
        published(f"{i}/{j}", miou, dataset=f"set {i}", size=ModelSize(10**6 + j))
        for i, case in enumerate(cases)
        for j, miou in enumerate(case)
    ]
    page.chrome.set_page_load_timeout(10)
    other = page.with_rows(rows, tmp_path)
    for board in options(other, "chart-board"):
        other.choose("chart-board", board)
        ticks = other.js(
            "return [...document.querySelectorAll('#plot .grid')]"
            ".filter(line => line.y1.baseVal.value === line.y2.baseVal.value).length"
        )
        assert 2 <= ticks <= 20, (board, ticks)


def test_figures_beyond_a_billion_are_exponential(page, tmp_path):
    rows = [*absurd_rows(), published("big", 50.0, size=ModelSize(10**9 - 1, 10**9))]
    other = page.with_rows(rows, tmp_path)
    assert other.text(f"{other.board(MEASURED)} tbody .main").split("\n") == [
        "1.00e300", "± 1.00e299, n = 3",
    ]  # fmt: skip
    assert not other.js(r"return /\d{20}|(,\d{3}){5}/.test(document.body.innerText)")
    other.open("#row=big")
    size = other.text("#details")
    assert "999,999,999 (1,000 M)" in size and "1.00e9 (1,000 M)" in size
    other.open("#row=absurd/measured")
    assert "1.00e12 of 1.00e12" in other.text("#details")
    assert "1.00e300 ms" in other.text("#details")


def lightness(page, selector: str) -> float:
    colour = page.js("return getComputedStyle(document.querySelector(arguments[0]))"
                     ".backgroundColor.match(/[\\d.]+/g).map(Number)", selector)  # fmt: skip
    return sum(colour[:3]) / 3


# All text that is seen against its ground, by WCAG's contrast ratio; large text counts as small.
CONTRAST = """
const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
  .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const colour = text => text.match(/[\\d.]+/g).map(Number);
const ground = node => { for (let one = node; one; one = one.parentElement) {
  const found = colour(getComputedStyle(one).backgroundColor);
  if (found.length === 3 || found[3] === 1) return found; } return [255, 255, 255]; };
const found = [];
for (const node of document.querySelectorAll('body *')) {
  if (![...node.childNodes].some(one => one.nodeType === 3 && one.data.trim())) continue;
  if (!node.checkVisibility() || node.closest('noscript, script, .unseen, svg')) continue;
  const [a, b] = [light(colour(getComputedStyle(node).color)), light(ground(node))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  found.push([ratio, node.className, node.textContent.slice(0, 30)]);
}
return found.sort((a, b) => a[0] - b[0]);
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_follows_the_system_and_can_be_read_in_both(page, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        page.open("#row=a")
        assert (lightness(page, "body") > 128) == (scheme == "light")
        contrasts = page.js(CONTRAST)
        assert len(contrasts) > 100
        assert contrasts[0][0] >= 4.5, contrasts[0]
        page.open()
        page.click("#theme")
        assert (lightness(page, "body") > 128) != (scheme == "light"), "the button turns it over"
        page.open()
        assert (lightness(page, "body") > 128) != (scheme == "light"), "and it stays"
    finally:
        page.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_phone_scrolls_one_way(page):
    screen = {"width": 375, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    wide = "return [document.documentElement.scrollWidth, innerWidth]"
    try:
        page.open()
        assert page.js(wide) == [375, 375]
        page.click("#guide summary")
        page.click("#more")
        page.choose("origin", "published")
        assert page.js(wide) == [375, 375]
        assert page.one("#data").is_displayed()
        page.open("#row=measured/m1")
        assert page.js(wide) == [375, 375]
        assert page.js("const d = document.getElementById('details');"
                       "return d.scrollWidth <= d.clientWidth")  # fmt: skip
    finally:
        page.chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_controls_have_names_and_headings_have_an_order(page):
    tree = page.chrome.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    said = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node["ignored"]
    ]
    controls = {"button", "combobox", "searchbox", "spinbutton", "radio", "table", "link", "region"}
    assert not [one for one in said if one[0] in controls and not one[1].strip()]
    assert {"main", "banner", "contentinfo", "table", "columnheader", "rowheader"} <= {
        role for role, _ in said
    }
    levels = page.js(
        "return [...document.querySelectorAll('h1,h2,h3')].map(h => Number(h.tagName[1]))"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


def test_skip_link_leads_to_the_tables_and_keeps_the_view(page):
    page.open("#origin=published")
    page.keys("\ue004", "\ue007")  # Tab, Enter
    assert page.js("return document.activeElement.id") == "boards"
    assert page.js("return location.hash") == "#origin=published"


def test_without_javascript_it_says_so_and_shows_rows(page):
    page.chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.open()
        main = page.text("main")
    finally:
        page.chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "need JavaScript" in main and "D²-MAE" not in main
    assert "Semantic segmentation · ADE20K · val" in main and "42.8" in main


def test_screenshot(page, repo, tmp_path):
    """With `LIGHTVIT_SCREENSHOT=FILE` also one of the project's own page, for the documents."""
    path = tmp_path / "page.png"
    screen = {"width": 1280, "height": 1100, "deviceScaleFactor": 1, "mobile": False}
    page.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        page.open(f"#chart={ADE}")
        assert page.chrome.save_screenshot(str(path))
        assert path.stat().st_size > 20_000
        own = repo / "leaderboard" / "index.html"
        if os.environ.get("LIGHTVIT_SCREENSHOT") and own.is_file():
            page.chrome.get(f"{own.as_uri()}#chart={ADE}")
            assert page.chrome.save_screenshot(str(Path(os.environ["LIGHTVIT_SCREENSHOT"])))
    finally:
        page.chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
