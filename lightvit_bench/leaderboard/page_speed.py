"""How fast the page answers: made-up rows, a real browser, from the event to the next frame."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightvit_bench.bench.parts import Curve, ModelSize, Recipe
from lightvit_bench.bench.record import RunRecord, measured_record
from lightvit_bench.leaderboard.rows import NOT_NAMED, Row, Score, Speed
from lightvit_bench.leaderboard.tasks import TASKS

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_SETS = {
    "classification": ("ImageNet-1K", "Flowers", "Pets", "CIFAR-100"),
    "segmentation": ("ADE20K", "COCO-Stuff", "CamVid"),
    "detection": ("COCO",),
    "tracking": ("LaSOT", "LaSOT_ext", "UAV123"),
    "tracking-latency": ("generated sequences",),
}
_METHODS = ("MAE", "D-MAE", "D²-MAE", "DINO", "SimMIM", "MoCo-v3", "supervised (DeiT)", "none")
_HEADS = ("Semantic FPN", "UPerNet", "Mask R-CNN (ViTDet)", "OSTrack", "linear")

# Where an event ends in the next painted frame: the second frame's callback runs after the first
# was painted. `back` is called with milliseconds.
_TIMED = """
const back = arguments[arguments.length - 1], start = performance.now();
const target = document.querySelector(arguments[0]);
{act}
requestAnimationFrame(() => setTimeout(() => back(performance.now() - start)));
"""
_CLICK = _TIMED.format(act="target.click();")
_TYPE = _TIMED.format(
    act="target.value = arguments[1]; target.dispatchEvent(new Event(arguments[2]));"
)
_SETTLED = "return document.querySelector('[aria-busy=true]:not([hidden])') === null"


def made_up_rows(count: int, seed: int = 0) -> list[Row]:
    """So many rows of no model, over the tasks and origins that real ones have."""
    draw = random.Random(seed)
    return [_made_up(draw, number) for number in range(count)]


def _made_up(draw: random.Random, number: int) -> Row:
    task = draw.choice(list(_SETS))
    origin = draw.choices(("published", "measured", "demo"), (5, 4, 1))[0]
    timed = task == "tracking-latency"
    origin = "measured" if timed and origin == "published" else origin
    dataset = draw.choice(_SETS[task])
    method, head = draw.choice(_METHODS), draw.choice(_HEADS)
    size = int(10 ** draw.uniform(5.7, 7.6))
    runs = draw.choice((1, 3)) if origin == "measured" else 1
    scores = {}
    for metric in TASKS[task].metrics:
        mean = 10 * size**0.1 + draw.gauss(0, 4) if metric.unit == "%" else size / 4e5
        scores[metric.key] = Score(
            round(max(mean, 0.1), 2), draw.uniform(0.05, 0.8) if runs > 1 else None, runs
        )
    expected = 2000 if origin != "published" else None
    speed = Speed(41.0, "frames/s", NOT_NAMED, "cpu", source="the same repository")
    curve = Curve(tuple(range(50)), tuple(i**0.5 for i in range(50)), "iteration", "mIoU (%)")
    return Row(
        key=f"made-up/{number}",
        origin=origin,
        task=task,
        dataset=dataset,
        split="val",
        protocol=""
        if timed
        else f"{dataset.lower()}-val@{draw.choice(('a', 'b'))}".replace(" ", "-"),
        model=f"{method} ViT {number}",
        variant=draw.choice((None, "distilled")),
        scores=scores,
        place="a made-up CPU, 2 cores" if timed else "",
        recipe=Recipe(method, "ImageNet-1K", draw.choice((300, 400, 1600)), head=head),
        size=ModelSize(
            size, int(size * draw.uniform(1.1, 3)), macs=size * 200, input="3 x 224 x 224"
        )
        if draw.random() < 0.8
        else ModelSize(),
        speeds=(speed,) if origin == "published" and draw.random() < 0.2 else (),
        expected=expected,
        evaluated=expected and (1203 if draw.random() < 0.05 else expected),
        source=f"A paper of {method}, table {number % 9}" if origin == "published" else None,
        url="https://example.org/paper" if origin == "published" else None,
        remarks=("starts from a checkpoint tuned with labels",) if draw.random() < 0.2 else (),
        date="2026-11-22T10:15:00Z" if origin != "published" else None,
        command=f"tools/test.py a_{number}.py a.pth" if origin != "published" else None,
        environment={} if origin == "published" else {"machine": "a made-up CPU", "threads": "2"},
        curves={"validation": curve} if number % 20 == 0 else {},
        seeds=(0, 1, 2) if runs == 3 else (),
    )


def measure(chrome: Chrome, page: Path, rounds: int = 7) -> dict[str, list[float]]:
    """Milliseconds of each thing a reader does, `rounds` times.

    "load_ms" is until the script has run and something is painted; "all_ms" until the last table
    is filled, which is done piece by piece while the page already answers; the others are from
    the event to the next painted frame.
    """
    chrome.set_script_timeout(60)
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        chrome.get("about:blank")
        chrome.get(page.resolve().as_uri())
        found.setdefault("load_ms", []).append(
            chrome.execute_script(
                "return Math.max(performance.getEntriesByType('navigation')[0].loadEventEnd,"
                "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0)"
            )
        )
        _settle(chrome)
        found.setdefault("all_ms", []).append(chrome.execute_script("return performance.now()"))

        def act(name: str, script: str, *arguments: str) -> None:
            found.setdefault(name, []).append(chrome.execute_async_script(script, *arguments))
            _settle(chrome)

        board = "#boards article:not([hidden]) "
        act("sort_ms", _CLICK, board + "thead .main button")
        act("filter_ms", _TYPE, "#origin", "published", "change")
        act("budget_ms", _TYPE, "#budget", "6", "input")
        act("search_ms", _TYPE, "#q", "d-mae", "input")
        act("reset_ms", _CLICK, "#reset")
        act("details_ms", _CLICK, board + "a.model")
        act("close_ms", _CLICK, "#details .bar button:last-child")
        act("more_ms", _CLICK, board + ".all")
    return found


def _settle(chrome: Chrome) -> None:
    """Wait until the tables are filled."""
    until = time.monotonic() + 60
    while not chrome.execute_script(_SETTLED) and time.monotonic() < until:
        time.sleep(0.01)


def lines(found: Mapping[str, Sequence[float]]) -> list[str]:
    """A table: median, least and most of each."""
    rows = [f"{'':12} {'median':>8} {'least':>8} {'most':>8}   ms"]
    for name, values in found.items():
        shown = (statistics.median(values), min(values), max(values))
        rows.append(f"{name[:-3]:12} " + " ".join(f"{value:8.1f}" for value in shown))
    return rows


def page_record(
    found: Mapping[str, Sequence[float]],
    rows: int,
    browser: str,
    megabytes: float,
    argv: Sequence[str] | None = None,
) -> RunRecord:
    """A run record: of each time the median, least and most over the rounds; the page's size."""
    values: dict[str, Any] = {
        name: {
            "median": round(statistics.median(times), 1),
            "least": round(min(times), 1),
            "most": round(max(times), 1),
        }
        for name, times in found.items()
    }
    return measured_record(
        "page-speed",
        "the leaderboard's page",
        {**values, "rounds": len(next(iter(found.values()))), "page_mb": round(megabytes, 3)},
        packages=("selenium",),
        argv=argv,
        dataset=f"{rows:,} made-up rows",
        runtime=browser,
        device="cpu",
    )
