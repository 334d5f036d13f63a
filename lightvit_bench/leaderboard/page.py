"""The leaderboard as one HTML file that opens from disk: nothing in it asks the network.

Style, script and rows are inside. The page's policy allows exactly this script and this style, by
their digests, so that a row could not run anything even if its text came to be read as HTML.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from lightvit_bench.errors import printable
from lightvit_bench.leaderboard.boards import Board
from lightvit_bench.leaderboard.page_data import page_data
from lightvit_bench.leaderboard.rows import Row

TITLE = "lightvit_bench leaderboard"
SCRIPTS = ("base", "select", "state", "tables", "chart", "details", "page")  # in this order
PLAIN_ROWS = 10  # of a board, on a page without JavaScript
PLAIN_ROWS_IN_ALL = 300
_ASSETS = Path(__file__).parent / "assets"
_ORIGINS = {"measured": "measured here", "published": "published elsewhere", "demo": "demo"}


def page_html(boards: Sequence[Board], *, title: str = TITLE, made: str = "") -> str:
    """The page.

    Args:
        boards: in the order shown; ranks are taken from them.
        made: a line for the foot of the page: when, from what.

    Raises:
        BadDataError: two rows have one key.
    """
    css, js = _asset("page.css"), _script()
    policy = (
        f"default-src 'none'; script-src '{_digest(js)}'; style-src '{_digest(css)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": _text(title),
        "made": f"<p>{_text(made)}</p>" if made else "",
        "noscript": "\n".join(_plain_tables(boards)),
        "data": page_data(boards),
        **{"css": css, "js": js},
    }
    # One pass: a row that holds "{{js}}" is not looked at again.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found.group(1)], _asset("page.html"))


def _plain_tables(boards: Sequence[Board]) -> list[str]:
    """A table of each board's first rows, for a page without JavaScript."""
    if not boards:
        return ["<p>The leaderboard has no rows.</p>"]
    lines = ["<p>Below are the first rows of each table.</p>"]
    left = PLAIN_ROWS_IN_ALL
    for board in boards:
        if left <= 0:
            break
        rows = list(zip(board.rows, board.ranks, strict=True))[: min(PLAIN_ROWS, left)]
        left -= len(rows)
        _, dataset, split, protocol, origin, place = board.key
        about = [board.task.title, dataset, split, protocol, _ORIGINS[origin], place]
        metric = board.task.main
        unit = f" ({metric.unit})" if metric.unit else ""
        lines.append('<div class="rows"><table>')
        lines.append(f"<caption>{_text(' · '.join(filter(None, about)))}</caption>")
        lines.append("<thead><tr><th>#</th><th>Model</th>")
        lines.append(f"<th>{_text(metric.title + unit)}</th><th>From</th></tr></thead>")
        lines.append("<tbody>")
        lines += [_plain_row(row, rank, metric.key, metric.decimals) for row, rank in rows]
        lines.append("</tbody></table></div>")
        hidden = len(board.rows) - len(rows)
        if hidden:
            lines.append(f"<p>{hidden:,} more in the file.</p>")
    return lines


def _plain_row(row: Row, rank: int | None, key: str, decimals: int) -> str:
    score = row.scores.get(key)
    shown = "–"
    if score is not None:
        shown = _figure(score.mean, decimals)
        if score.std is not None:
            shown += f" ± {_figure(score.std, decimals)}"
    if not row.complete:
        shown += f" (incomplete: {row.evaluated} of {row.expected})"
    name = " · ".join(filter(None, [row.model, row.variant]))
    about = " ".join(filter(None, [row.source or ", ".join(row.records), *row.remarks]))
    cells = ["–" if rank is None else str(rank), name, shown, about]
    return f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in cells)}</tr>"


def _figure(value: float, decimals: int) -> str:
    """As the script shows figures: "42.8", and "1.00e12" where digits would fill the page."""
    if abs(value) < 1e9:
        return f"{value:.{decimals}f}"
    return re.sub(r"e\+0*", "e", f"{value:.2e}")


def _text(text: str) -> str:
    return html.escape(printable(text))


@cache
def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


@cache
def _script() -> str:
    parts = [_asset(f"{name}.js") for name in SCRIPTS]
    return "'use strict';\n(() => {\n" + "\n".join(parts) + "})();\n"


def _digest(text: str) -> str:
    """As a policy names what it allows: of the element's text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
