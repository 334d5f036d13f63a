"""Run records of tools/test.py's runs of trackers."""

from __future__ import annotations

import re
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightvit_bench.bench.parts import ModelSize, Recipe, StoredFiles
from lightvit_bench.bench.provenance import sha256_of, shown_path
from lightvit_bench.bench.record import RunRecord, measured_record
from lightvit_bench.data.got10k import COUNTS
from lightvit_bench.data.lasot import expected_names
from lightvit_bench.data.sequence import Sequence
from lightvit_bench.data.tracking_sets import SETS, open_set
from lightvit_bench.errors import ConfigError
from lightvit_bench.tracking.judging.judge import annotations_of
from lightvit_bench.tracking.judging.recording import (
    got10k_stored,
    lasot_curves,
    lasot_values,
    place_of,
)
from lightvit_bench.tracking.running.exported import TestedFile
from lightvit_bench.tracking.running.judged import SERVERS, is_judged
from lightvit_bench.tracking.running.report import Row
from lightvit_bench.verification.keeping import (
    LASOT,
    check_record_folder,
    stored_tracks,
    stored_truth,
)

if TYPE_CHECKING:
    from mmengine.config import Config

    from lightvit_bench.tracking.running.config import Tested

PACKAGES = ("torch", "timm", "numpy", "opencv-python", "openvino", "onnxruntime")
_RUNTIMES = {".xml": "openvino", ".onnx": "onnxruntime"}  # as bench_track names them
_AO = {"AO": "ao", "SR50": "sr50", "SR75": "sr75"}


@dataclass(frozen=True)
class Ran:
    """A finished run, for its record.

    Attributes:
        root: of the data set, as the config has it.
        limited: whether the config names the sequences, so that there may be more.
        rows: offline first, then by clocks.
        device, threads: that it computed on, in each process.
    """

    name: str
    split: str
    root: Path
    sequences: SequenceOf[Sequence]
    limited: bool
    folder: Path
    rows: SequenceOf[Row]
    device: str
    threads: int


def check_recordable(record: str, name: str, split: str, sequences: SequenceOf[Sequence]) -> None:
    """`ConfigError` where there will be no score to record, or nowhere to; before the run."""
    check_record_folder(record)
    title = SETS[name].title
    if (name, split) in SERVERS:
        raise ConfigError(
            f"--record: the truth of {title} ({split}) is not public, its server gives the score.",
            do="leave --record out; the server's score is entered as a published row",
            or_set="test_set.split=val" if name == "got10k" else "test_set.name=lasot",
        )
    if not is_judged(name, sequences):
        raise ConfigError(
            "--record: the truth is known for first frames alone, so there is no score.",
            do="leave --record out",
        )


def run_record(
    cfg: Config,
    checkpoint: Path,
    tested: Tested | TestedFile,
    ran: Ran,
    shared: dict[str, Any],
    recipe: Recipe,
    remarks: SequenceOf[str] = (),
) -> RunRecord:
    """The record of a tracker over a data set.

    Args:
        shared: fields that all records of tools/test.py have: config and its digest, seed, ...
    """
    offline = ran.rows[0]
    judged, names = offline.judged, [one.name for one in ran.sequences]
    ao = ran.name == "got10k"
    place = place_of(judged.protocol, names, ran.root)
    values: dict[str, Any] = _values(judged, ao)
    values["frames_per_second"] = offline.speed.frames_per_second
    values["median_ms"] = offline.speed.median_ms
    values = {key: value if value == value else None for key, value in values.items()}
    for row in ran.rows[1:]:
        of_clock = {key: _finite(value) for key, value in _values(row.judged, ao).items()}
        values[f"realtime_{row.realtime:g}"] = {**of_clock, "dropped": 100 * row.speed.dropped}
    of_set = ran.name != "folder" and place.origin != "demo"
    others = {**_tested_fields(checkpoint, tested), **shared}
    curves = {} if ao else lasot_curves(judged.details["curves"])
    curves |= others.pop("curves")
    return measured_record(
        "tracking-ao" if ao else "tracking",
        Path(cfg.filename).stem,
        values,
        packages=PACKAGES,
        origin=place.origin,
        dataset=SETS[ran.name].title if of_set else place.dataset,
        split=ran.split if of_set else place.split,
        protocol=judged.protocol,
        expected=_expected(ran),
        evaluated=len(ran.sequences),
        threads=ran.threads,
        device=device_name(ran.device),
        recipe=replace(recipe, test_mode=_test_mode(offline)),
        curves=curves,
        predictions=stored_tracks(ran.folder, names, "got10k" if ao else "toolkit"),
        truth=_truth(ran, ao),
        remarks=(*[judged.remark][: bool(judged.remark)], *remarks),
        **others,
    )


def device_name(device: str) -> str:
    """A device of torch's for a record: "cpu", or the accelerator's name."""
    if device == "cpu":
        return "cpu"
    import torch

    return torch.cuda.get_device_name(device)


def _values(judged: Any, ao: bool) -> dict[str, float]:
    if ao:
        return {ours: judged.scores[theirs] for theirs, ours in _AO.items()}
    return lasot_values(judged.details)


def _finite(value: float | None) -> float | None:
    return None if value is None or value != value else value


def _expected(ran: Ran) -> int:
    """How many sequences the whole set has, also where the config names fewer."""
    count = len(ran.sequences)
    if not ran.limited:
        return count
    if ran.name == "lasot":
        return max(count, len(expected_names(ran.split)))
    if ran.name == "got10k":
        return max(count, COUNTS[ran.split])
    return max(count, len(open_set(ran.name, ran.root, ran.split, say=lambda message: None)))


def _truth(ran: Ran, ao: bool) -> StoredFiles:
    if ao:
        return got10k_stored(ran.root, ran.sequences, ran.split)
    return stored_truth(LASOT, ran.root, annotations_of(ran.sequences))


def _test_mode(row: Row) -> str:
    if not row.settings:
        return "offline"
    lost = "held when lost" if row.settings["hold"] else "moves on whatever the score"
    return f"offline, found from {row.settings['found_above']:g}, {lost}"


def _tested_fields(checkpoint: Path, tested: Tested | TestedFile) -> dict[str, Any]:
    """Weights, runtime, precision, variant and size of what ran."""
    if isinstance(tested, TestedFile):
        about = tested.identity
        source = about["source"]
        return dict(
            exported=shown_path(checkpoint),
            exported_sha256=sha256_of(checkpoint),
            checkpoint_sha256=source if re.fullmatch("[0-9a-f]{64}", str(source)) else None,
            runtime=_RUNTIMES.get(checkpoint.suffix, about["runtime"]),
            precision=about["precision"],
        )
    from lightvit_bench.tracking.latency.cases import variant_of

    return dict(
        checkpoint=shown_path(checkpoint),
        checkpoint_sha256=tested.sha256,
        runtime="eager",
        precision="fp32",
        variant=variant_of(tested.spec),
        size=size_of(tested.spec),
    )


def size_of(spec: Any) -> ModelSize:
    """Parameters of a tracker's network, and the work of one frame with its template."""
    import torch

    from lightvit_bench.bench.flops import count_cost
    from lightvit_bench.tracking.network import OneStreamTracker

    network = OneStreamTracker(spec)
    sides = (spec.template_size, spec.search_size)
    template, search = (torch.zeros(1, 3, side, side) for side in sides)
    cost = count_cost(network, template, search)
    return ModelSize(
        backbone_parameters=sum(one.numel() for one in network.backbone.parameters()),
        parameters=cost.params,
        macs=cost.macs,
        input=f"template 3 x {sides[0]} x {sides[0]}, search 3 x {sides[1]} x {sides[1]}",
    )
