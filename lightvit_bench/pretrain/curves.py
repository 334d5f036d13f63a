"""Loss curves of pre-training runs, from the scalars that their logs leave."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError
from lightvit_bench.writing import whole_file


def read_scalars(work_dir: str | PathLike) -> list[dict[str, float]]:
    """The records of a run by iteration, one for each line of its log.

    A run that was resumed has a folder for each part; where two tell of an iteration, the later
    part is what went on.

    Raises:
        MissingDataError: no `TIME/vis_data/scalars.json` is in the folder.
        BadDataError: a whole line is no record. A last line cut short (a killed run) is left out.
    """
    files = sorted(Path(work_dir).glob("*/vis_data/scalars.json"))
    if not files:
        raise MissingDataError(
            "there is no log of a pre-training.", looked_for=f"{work_dir}/*/vis_data/scalars.json"
        )
    records: dict[int, dict] = {}
    for file in files:
        part = _records(file)
        if part:
            records = {i: record for i, record in records.items() if i < min(part)} | part
    return [records[i] for i in sorted(records)]


def _records(file: Path) -> dict[int, dict]:
    lines = file.read_text().split("\n")
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            found[int(record["iteration"])] = record
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise BadDataError(
                f"{file}, line {number}, is no record.", cause=f"{type(error).__name__}: {error}"
            ) from None
    return found


def plot_losses(runs: Mapping[str, Sequence[Mapping[str, float]]], out: str | PathLike) -> None:
    """Draw the loss parts of runs over epochs, a panel a part, and save the picture as `out`.

    `runs`: label -> records, as `read_scalars` gives them. A point is a line of the log, which is
    a mean already.

    Raises:
        ConfigError: the ending of `out` names no picture format.
        BadDataError: no record holds a loss.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.backend_bases import FigureCanvasBase

    form = Path(out).suffix.lstrip(".").lower() or "png"
    if form not in FigureCanvasBase.get_supported_filetypes():
        raise ConfigError(
            f"no picture format is known by the ending of {out}.", set="curves.png, .svg or .pdf"
        )
    parts = sorted(
        {name for records in runs.values() for record in records for name in record}
        & {"loss_pixels", "loss_attention", "loss_hidden", "loss_relation"},
        reverse=True,  # pixels first
    )
    if not parts:
        raise BadDataError("the logs hold no loss to draw.", runs=list(runs))
    figure, panels = plt.subplots(1, len(parts), figsize=(5.2 * len(parts), 3.6), squeeze=False)
    for panel, part in zip(panels[0], parts, strict=True):
        for label, records in runs.items():
            points = [(record["epoch"], record[part]) for record in records if part in record]
            if points:
                panel.plot(*zip(*points, strict=True), label=label)
        values = [value for line in panel.lines for value in line.get_ydata() if value > 0]
        if values and max(values) > 100 * min(values):  # attention falls by powers of ten
            panel.set_yscale("log")
        panel.set(xlabel="epoch", title=part.removeprefix("loss_") + " loss")
        panel.grid(alpha=0.3)
        panel.legend(frameon=False)
    figure.tight_layout()
    with whole_file(out) as aside:
        figure.savefig(aside, format=form, dpi=110)
    plt.close(figure)
