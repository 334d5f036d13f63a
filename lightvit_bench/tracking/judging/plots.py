"""Plots and tables of judged trackers: curves, an attribute radar, CSV files.

Figures are made and saved without pyplot, on matplotlib's Agg and SVG canvases: no window, no
display, and nothing is left in a global state.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lightvit_bench.data.box_files import write_text
from lightvit_bench.errors import BadDataError
from lightvit_bench.metrics import lasot
from lightvit_bench.tracking.judging.judge import TrackerScores
from lightvit_bench.writing import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# kind of curve -> title, x axis, y axis, thresholds, the score that ranks and stands in the legend
_KINDS = {
    "success": ("Success", "overlap threshold", "success rate", lasot.OVERLAP_THRESHOLDS, "auc"),
    "precision": (
        "Precision",
        "location error threshold (px)",
        "precision",
        lasot.PIXEL_THRESHOLDS,
        "precision",
    ),
    "norm_precision": (
        "Normalised precision",
        "normalised location error threshold",
        "precision",
        lasot.NORM_THRESHOLDS,
        "norm_precision",
    ),
}
CURVES = tuple(_KINDS)
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#444444")
_DASHES = ("-", "--", "-.", ":")
_RADAR_MOST = 8
_LEGEND_INSIDE = 10
_COLUMNS = ("auc", "op50", "op75", "precision", "norm_precision")
_STYLE = {
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a name may hold dollar signs
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "lightvit_bench",  # the same picture is the same file
}


def best_first(scores: Sequence[TrackerScores], by: str = "auc") -> list[TrackerScores]:
    """Trackers by a score, the highest first, those without one (NaN) last.

    Raises:
        BadDataError: they were not judged by one protocol, or two have one name.
    """
    protocols = sorted({s.protocol for s in scores})
    if len(protocols) != 1:
        raise BadDataError("only scores of one protocol can be ranked.", protocols=protocols)
    names = [s.tracker for s in scores]
    if len(set(names)) < len(names):
        raise BadDataError("two trackers have one name.", names=sorted(names))
    return sorted(scores, key=lambda s: (math.isnan(getattr(s, by)), -getattr(s, by), s.tracker))


def plot_curves(scores: Sequence[TrackerScores], kind: str) -> Figure:
    """One line a tracker, best first; `kind` is one of `CURVES`. Raises as `best_first` does."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    title, x_label, y_label, thresholds, score = _KINDS[kind]
    ranked = best_first(scores, score)
    styles = _styles(ranked)
    outside = len(ranked) > _LEGEND_INSIDE
    with rc_context(_STYLE):
        figure = Figure(figsize=(8.6 if outside else 6.2, 4.8), layout="constrained")
        axes = figure.add_subplot()
        for place, one in enumerate(ranked):
            axes.plot(
                thresholds,
                100 * getattr(one.curves, kind),
                label=f"{getattr(one, score):.1f}  {one.tracker}",
                linewidth=2,
                zorder=3 + len(ranked) - place,  # the best on top
                **styles[one.tracker],
            )
        axes.set(xlabel=x_label, ylabel=f"{y_label} (%)", ylim=(0, 100))
        axes.set_xlim(thresholds[0], thresholds[-1])
        axes.grid(alpha=0.25, linewidth=0.7)
        axes.set_title(title, loc="left")
        axes.set_title(_what(ranked[0]), loc="right", fontsize=8, fontweight="normal", color="#555")
        if kind != "success":  # where the number in the legend is read
            axes.axvline(thresholds[20], color="#999", linewidth=0.8, linestyle=(0, (4, 4)))
        legend = {"frameon": True, "framealpha": 0.85, "edgecolor": "none", "fontsize": 9}
        if outside:
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, **legend)
        else:
            axes.legend(loc="lower left" if kind == "success" else "lower right", **legend)
    return figure


def plot_radar(scores: Sequence[TrackerScores]) -> Figure:
    """AUC by attribute on a circle, of the best eight. Raises as `best_first` does.

    Raises:
        BadDataError: too few attributes have a score to draw a circle (fewer than three).
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    ranked = best_first(scores)
    shown = ranked[:_RADAR_MOST]
    attributes = list(ranked[0].per_attribute)
    if len(attributes) < 3:
        raise BadDataError(
            "a radar plot needs scores of three attributes at least.",
            there_are=str(len(attributes)),
        )
    angles = np.linspace(0, 2 * np.pi, len(attributes), endpoint=False)
    values = np.array([[s.per_attribute[a].auc for a in attributes] for s in shown])
    low = max(0, 10 * math.floor(np.nanmin(values) / 10) - 10)
    high = max(low + 20, 10 * math.ceil(np.nanmax(values) / 10))
    styles = _styles(ranked)
    with rc_context(_STYLE):
        figure = Figure(figsize=(8.2, 6), layout="constrained")
        axes = figure.add_subplot(projection="polar")
        axes.set_theta_zero_location("N")
        axes.set_theta_direction(-1)
        for row, one in zip(values, shown, strict=True):
            ring = np.append(row, row[0])
            around = np.append(angles, angles[0])
            line = axes.plot(
                around,
                ring,
                linewidth=1.8,
                label=f"{one.auc:.1f}  {one.tracker}",
                **styles[one.tracker],
            )[0]
            axes.fill(around, ring, color=line.get_color(), alpha=0.05)
        axes.set_ylim(low, high)
        ticks = np.arange(low, high + 1, 10)
        axes.set_rgrids(ticks, [f"{tick:g}" for tick in ticks], angle=360 / len(attributes) / 2)
        axes.tick_params(axis="y", labelsize=8, labelcolor="#777")
        counts = ranked[0].per_attribute
        axes.set_xticks(angles, [f"{a}\n({counts[a].sequences})" for a in attributes])
        axes.tick_params(axis="x", pad=8)
        axes.grid(alpha=0.35, linewidth=0.7)
        axes.spines["polar"].set_color("#bbb")
        some = f", best {len(shown)} of {len(ranked)}" if len(shown) < len(ranked) else ""
        figure.suptitle(f"AUC by attribute (sequences){some}", fontweight="bold", fontsize=12)
        figure.supxlabel(f"{_what(ranked[0])}; circles from {low} to {high} %", fontsize=8)
        axes.legend(loc="upper left", bbox_to_anchor=(1.12, 1.0), frameon=False, fontsize=9)
    return figure


def save_figure(figure: Figure, stem: str | os.PathLike) -> list[str]:
    """Write `stem.svg` and `stem.png`, each whole or not at all; their paths."""
    from matplotlib import rc_context

    written = []
    for form in ("svg", "png"):
        path = f"{os.fspath(stem)}.{form}"
        with rc_context(_STYLE), whole_file(path) as aside:
            figure.savefig(
                aside, format=form, dpi=150, metadata={"Date": None} if form == "svg" else None
            )
        written.append(path)
    return written


def write_report(scores: Sequence[TrackerScores], folder: str | os.PathLike) -> list[str]:
    """Write all plots and tables of trackers into a folder; the paths of what was written.

    success, precision and norm_precision (.svg, .png), sequences.csv, and where attributes are
    known attributes.csv and, of three and more, attributes.svg and .png.
    """
    folder, ranked = os.fspath(folder), best_first(scores)
    written = []
    for kind in CURVES:
        written += save_figure(plot_curves(ranked, kind), os.path.join(folder, kind))
    tables = {"sequences": table_csv(ranked, "per_sequence", "sequence")}
    if ranked[0].per_attribute:
        tables["attributes"] = table_csv(ranked, "per_attribute", "attribute")
    if len(ranked[0].per_attribute) >= 3:
        written += save_figure(plot_radar(ranked), os.path.join(folder, "attributes"))
    for name, text in tables.items():
        write_text(os.path.join(folder, f"{name}.csv"), text)
        written.append(os.path.join(folder, f"{name}.csv"))
    return written


def table_csv(scores: Sequence[TrackerScores], of: str, column: str) -> str:
    """The scores in percent of `per_sequence` or `per_attribute`, a line for each and tracker."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["protocol", "tracker", column, "sequences", *_COLUMNS])
    for one in scores:
        for name, held in getattr(one, of).items():
            numbers = [f"{getattr(held, key):.4f}" for key in _COLUMNS]
            lines.writerow([one.protocol, one.tracker, name, held.sequences, *numbers])
    return text.getvalue()


def _what(scores: TrackerScores) -> str:
    return f"{scores.protocol}, {scores.evaluated} sequences"


def _styles(ranked: Sequence[TrackerScores]) -> dict[str, dict[str, str]]:
    """A line style a tracker, the same in every plot of the same trackers."""
    names = [s.tracker for s in best_first(ranked)]
    colours = len(_COLOURS)
    return {
        name: {
            "color": _COLOURS[i % colours],
            "linestyle": _DASHES[i // colours % len(_DASHES)],
        }
        for i, name in enumerate(names)
    }
