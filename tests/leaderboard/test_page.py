"""The page as a file: nothing outside of it, and no row's text gets out of its place."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import random
import re
from pathlib import Path

import pytest
from page_rows import HOSTILE, absurd_rows, page_rows, published

import lightvit_bench.leaderboard.page as page
from lightvit_bench.errors import BadDataError, MissingDataError
from lightvit_bench.leaderboard import browser
from lightvit_bench.leaderboard.boards import boards_of
from lightvit_bench.leaderboard.measured import rows_of
from lightvit_bench.leaderboard.page_data import board_names, escaped_json, page_data
from lightvit_bench.leaderboard.page_speed import lines, made_up_rows, page_record

ASSETS = Path(page.__file__).parent / "assets"


@pytest.fixture(scope="module")
def text() -> str:
    return page.page_html(boards_of(page_rows()), made="from <two> records")


def embedded(text: str) -> dict:
    return json.loads(re.search(r'id="data-rows">(.*?)</script>', text, re.DOTALL).group(1))


def test_nothing_is_loaded_from_elsewhere(text):
    assert not re.search(
        r"\bsrc=|@import|url\(|\bfetch\(|XMLHttpRequest|WebSocket", text_less(text)
    )
    assert re.findall(r'<link[^>]*href="([^"]*)"', text) == ["data:,"]
    assert "default-src 'none'" in text


def text_less(text: str) -> str:
    """The page without what rows say."""
    without = re.sub(r'id="data-rows">.*?</script>', "", text, flags=re.DOTALL)
    return re.sub(r"<noscript>.*?</noscript>", "", without, flags=re.DOTALL)


@pytest.mark.parametrize("element, directive", [("style", "style-src"), ("script", "script-src")])
def test_the_policy_allows_exactly_the_pages_own_script_and_style(text, element, directive):
    inside = re.findall(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
    assert len(inside) == 1
    digest = base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode()
    assert f"{directive} 'sha256-{digest}'" in text
    assert "unsafe" not in text


def test_text_of_a_row_ends_no_element_and_is_no_template(text):
    assert text.count("</script") == 2, "the data's end and the script's"
    assert text.count("{{js}}") == text.count(html.escape("{{js}}")), "as text alone"
    rows = [row for board in embedded(text)["boards"] for row in board["rows"]]
    evil = next(row for row in rows if row["key"] == "evil")
    assert evil["model"] == HOSTILE
    assert "<img" not in text
    assert "from &lt;two&gt; records" in text


def test_a_lone_surrogate_leaves_the_page_writable():
    made = page.page_html(boards_of([published("a", 1.0, model="x\ud800")]))
    assert embedded(made)["boards"][0]["rows"][0]["model"] == "x\ud800"
    made.encode("utf-8")


def test_json_is_escaped_and_the_same():
    values = {"a": "<!--</script>&amp;\u2028\u2029\ud800é", "b": [1.5, None, True]}
    made = escaped_json(values)
    assert not set("<>&\u2028\u2029\ud800") & set(made)
    assert json.loads(made) == values
    with pytest.raises(ValueError):
        escaped_json({"a": float("nan")})


def test_rows_keep_board_rank_score_and_counts(text):
    data = embedded(text)
    boards = {board["id"]: board for board in data["boards"]}
    assert list(boards) == [
        "segmentation/ADE20K/ade20k-val@single-scale/measured",
        "segmentation/ADE20K/ade20k-val@single-scale/published",
        "tracking/LaSOT/lasot-ope-test280@as-published/published",
        "tracking-latency/bag/measured/A-CPU-2-cores",
    ]
    measured, others = list(boards.values())[:2]
    assert [(row["key"], row.get("rank")) for row in others["rows"]] == [
        ("b", 1), ("a", 2), ("d", 3), ("c", 4), ("evil", 5),
    ]  # fmt: skip
    assert [row.get("rank") for row in measured["rows"]] == [1, None]
    assert measured["rows"][0]["scores"]["miou"] == [39.0, 0.25, 3]
    incomplete = measured["rows"][1]
    assert incomplete["incomplete"] and incomplete["evaluated"] == 1203
    assert "incomplete" not in measured["rows"][0]
    assert boards["tracking-latency/bag/measured/A-CPU-2-cores"]["rows"][0]["setup"] == (
        "openvino, bf16, 2 threads"
    )
    assert set(data["tasks"]) == {"segmentation", "tracking", "tracking-latency"}


def test_names_of_boards_are_one_for_each_and_hold_for_links():
    rows = [published("a", 1.0, dataset="X Y"), published("b", 1.0, dataset="X/Y")]
    names = board_names(boards_of(rows))
    assert len(set(names)) == 2
    assert all(re.fullmatch(r"[\w.@/-]+", name) for name in names)


def test_two_rows_of_one_key_are_refused():
    with pytest.raises(BadDataError, match="one key"):
        page_data(boards_of([published("a", 1.0), published("a", 2.0, dataset="other")]))


def test_page_is_the_same_from_the_same_rows_however_they_come():
    rows = page_rows()
    made = page.page_html(boards_of(rows))
    random.Random(0).shuffle(rows)
    assert page.page_html(boards_of(rows)) == made


def test_page_without_a_row():
    made = page.page_html([])
    assert embedded(made) == {"tasks": {}, "boards": []}
    plain = re.search(r"<noscript>(.*?)</noscript>", made, re.DOTALL).group(1)
    assert "The leaderboard has no rows." in plain and "first rows" not in plain


def test_without_javascript_no_figure_has_hundreds_of_digits():
    made = page.page_html(boards_of(absurd_rows()))
    plain = re.search(r"<noscript>(.*?)</noscript>", made, re.DOTALL).group(1)
    assert "<td>1.00e300 ± 1.00e299</td>" in plain and "<td>42.8</td>" in plain
    assert not re.search(r"\d{30}", plain)


def test_without_javascript_there_are_the_first_rows(text):
    plain = re.search(r"<noscript>(.*?)</noscript>", text, re.DOTALL).group(1)
    assert "needs" not in plain and "JavaScript, which is off" in plain
    assert "(incomplete: 1203 of 2000)" in plain
    assert "39.0 ± 0.2" in plain or "39.0 ± 0.3" in plain
    assert "50 more in the file" in plain
    assert "starts from a checkpoint tuned with labels" in plain


def test_many_rows_make_no_long_table_without_javascript():
    rows = [published(f"r{i}", 1.0, dataset=f"d{i % 100}") for i in range(2000)]
    plain = re.search(r"<noscript>(.*?)</noscript>", page.page_html(boards_of(rows)), re.DOTALL)
    assert plain.group(1).count("<tr><td>") == page.PLAIN_ROWS_IN_ALL


def test_scripts_stay_small():
    """No file of over 400 lines, no line of over 110, and no way for text to become HTML."""
    scripts = {path.stem: path.read_text() for path in ASSETS.glob("*.js")}
    assert set(scripts) == set(page.SCRIPTS)
    for name, script in scripts.items():
        assert len(script.splitlines()) <= 400, name
        assert max(map(len, script.splitlines())) <= 110, name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", script)


def test_what_is_missing_of_the_browser_is_said(monkeypatch):
    monkeypatch.setattr(browser.shutil, "which", lambda name: None)
    assert browser.missing().startswith("chromium and chromedriver")
    assert "apt install chromium chromium-driver" in browser.missing()
    with pytest.raises(MissingDataError, match="no browser"), browser.headless():
        pass


def test_made_up_rows_are_the_same_each_time_and_make_a_page():
    rows = made_up_rows(300)
    assert rows == made_up_rows(300) != made_up_rows(300, seed=1)
    data = embedded(page.page_html(boards_of(rows)))
    assert sum(len(board["rows"]) for board in data["boards"]) == 300
    assert {board["origin"] for board in data["boards"]} == {"measured", "published", "demo"}


def test_the_pages_speed_becomes_a_row():
    found = {
        "load_ms": [300.0, 310.0, 305.0],
        "sort_ms": [30.0, 20.0, 40.0],
        "filter_ms": [1.0] * 3,
    }
    record = page_record(found, 10_000, "Chromium 1", 6.0, argv=["tools/bench_page.py"])
    assert record.values["sort_ms"] == {"median": 30.0, "least": 20.0, "most": 40.0}
    (row,) = rows_of([record])
    assert row.dataset == "10,000 made-up rows" and row.origin == "measured"
    assert {key: score.mean for key, score in row.scores.items()} == {
        "sort_ms": 30.0, "filter_ms": 1.0, "load_ms": 305.0,
    }  # fmt: skip
    assert lines(found)[1].split() == ["load", "305.0", "300.0", "310.0"]
