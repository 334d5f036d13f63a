"""Markdown of the tables that run records make, and of what they were measured with."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Callable, Iterable, Sequence

from lightvit_bench.bench.record import RunRecord

NONE = "–"


def conditions(records: Sequence[RunRecord], about: str = "") -> str:
    """Data, machine, versions, commits, dates and commands of records of one place.

    Args:
        about: what else is to be said, after the data.
    """
    one = records[0]  # what makes a place is the same in all
    lines = []
    if one.dataset:
        data = ", ".join(cell(part) for part in (one.dataset, one.split) if part)
        made = ", generated" if one.origin == "demo" else ""
        lines.append(f"Data: {data}{made}.")
    if about:
        lines.append(about)
    if machines := [record.machine for record in records if record.machine]:
        systems = unique(f"{machine.system}, Python {machine.python}" for machine in machines)
        parts = [machines[0].hardware, " or ".join(systems)]
        if one.device and one.device != "cpu":
            parts.insert(0, one.device)
        if loads := [machine.load[0] for machine in machines if machine.load]:
            parts.append(f"load average {spread(loads, decimals(1))}")
        lines.append(f"Machine: {cell('; '.join(parts))}.")
    installed: dict[str, list[str]] = {}
    for record in records:
        for name, version in record.versions.items():
            if version is not None:
                installed.setdefault(name, []).append(version)
    if installed:
        told = [f"{name} {' or '.join(unique(installed[name]))}" for name in sorted(installed)]
        lines.append(f"Versions: {cell(', '.join(told))}.")
    dates = sorted({record.date[:10] for record in records})
    commits = unique(short_commit(record.commit) for record in records)
    when = " to ".join(first_and_last(dates))
    lines.append(
        f"{plural(len(commits), 'Commit')} {', '.join(commits)}; {when}; "
        f"{len(records)} {plural(len(records), 'record')}, made by"
    )
    commands = sorted(unique(record.command for record in records))
    return prose(" ".join(lines)) + "\n\n" + "\n".join(f"    {command}" for command in commands)


def spread(
    values: Sequence[float],
    show: Callable[[float], str],
    ends: Sequence[tuple[float, float]] = (),
) -> str:
    """The median of values, with the least and the most where these look different.

    Args:
        ends: the least and the most of what each value is itself the median of.
    """
    if not values:
        return NONE
    every = [*values, *(end for pair in ends for end in pair)]
    least, most = show(min(every)), show(max(every))
    middle = show(statistics.median(values))
    return middle if least == most else f"{middle} ({least} to {most})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 2) -> str:
    """A table in Markdown; the columns after the first, network and runtime, to the right."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def cell(text: str) -> str:
    """Text that stays text within a table and a line of Markdown."""
    return "".join("\\" + char if char in "\\|<*_`[" else char for char in text)


def prose(text: str) -> str:
    """A paragraph in lines, as the documents have them."""
    return textwrap.fill(text, 105, break_long_words=False, break_on_hyphens=False)


def ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def pixels(value: float) -> str:
    return f"{value:.3g}" if value >= 0.001 else f"{value:.4f}"


def significant(value: float) -> str:
    return f"{value:.4g}"


def decimals(count: int) -> Callable[[float], str]:
    return lambda value: f"{value:.{count}f}"


def short_commit(commit: str | None) -> str:
    if commit is None:
        return "unknown"
    digits, _, changes = commit.partition("+")
    return digits[:7] + (" with changes" if changes else "")


def first_and_last(texts: Sequence[str]) -> list[str]:
    return [texts[0]] if len(texts) == 1 else [texts[0], texts[-1]]


def plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"


def unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
