"""The demo: generated data, pre-training, training, tests, tracking, and the leaderboard."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from lightvit_bench.bench.provenance import RECORDS, sha256_of, shown_path
from lightvit_bench.bench.record import write_record
from lightvit_bench.data.demo_ade import CLASSES, make_demo_ade
from lightvit_bench.data.demo_coco import make_demo_coco
from lightvit_bench.data.lasot_annotations import LasotAnnotations
from lightvit_bench.data.seg_folder import find_pairs, scan
from lightvit_bench.leaderboard import build
from lightvit_bench.metrics.segmentation import SegScores, commonest_class_scores
from lightvit_bench.openmmlab.checkpoints import latest_checkpoint, run_checkpoints
from lightvit_bench.openmmlab.run import test, train
from lightvit_bench.tracking.files import load_tracker_model, shipped_weights
from lightvit_bench.tracking.judging.judge import TrackerScores
from lightvit_bench.tracking.judging.recording import judged_record
from lightvit_bench.tracking.watching.demo import DemoTrack, track_demo

MARK = ".made_by_demo"  # in a work dir: what lies there may be made anew
DATA = Path("data/demo/ADEChallengeData2016")  # where the configs look
PUBLISHED = Path("leaderboard/published")


@dataclass(frozen=True)
class Configs:
    """The configs of the demo's trainings; segmentor and detector start from the student."""

    teacher: str = "configs/demo/mae_small.py"
    student: str = "configs/demo/dmae_tiny.py"
    segmentor: str = "configs/demo/upernet_random_tiny.py"
    detector: str = "configs/demo/rtmdet_random_tiny.py"


def run_demo(
    out: Path,
    data: Path = DATA,
    configs: Configs = Configs(),  # noqa: B008  (immutable)
    videos: dict[str, int] | None = None,
) -> dict[str, float]:
    """Make `data`, pre-train, train, test and track below `out`, telling each step.

    The commands printed are those a person would type; they do the same. `videos`: of
    `make_demo_sequences`. Returns the metrics.
    """
    # None of these warnings is for this reader.
    warnings.filterwarnings("ignore", module=r"(mm(seg|det|engine)|torch|pycocotools)\.")
    started = time.monotonic()
    print("[1/9] data: pictures of shapes on photographs, in ADE20K's and COCO's layouts")
    objects = data.parent / "coco"
    for summary, folder in ((make_demo_ade(data), data), (make_demo_coco(objects), objects)):
        print(f"      {folder}: {summary.train} to train on, {summary.val} to test on")
    if summary.note:
        print(f"      {summary.note}")

    images = f"data_root={(data / 'images/training').resolve()}"
    print("[2/9] a teacher by MAE: a ViT-Small learns to fill in hidden patches")
    teacher = _run(configs.teacher, out, images) / f"{Path(configs.teacher).stem}.safetensors"
    print("[3/9] D-MAE: a ViT-Tiny fills them in, too, and learns the teacher's attention")
    student = _run(configs.student, out, images, f"teacher={teacher}")
    init = f"init={student / f'{Path(configs.student).stem}.safetensors'}"
    print(f"      pictures (original, masked, predicted): {student / 'pictures/latest.jpg'}")
    print("[4/9] UPerNet on that ViT-Tiny")
    labels = _train_and_test(configs.segmentor, out, "overlays", "labels", data, init)
    constant = baseline(data)
    sheet = out / "demo.png"
    write_sheet(sorted((out / "overlays").glob("*.png"))[::5], sheet)
    print("[5/9] a detector, RTMDet's head on it")
    found = "objects.json"
    boxes = _train_and_test(configs.detector, out, "objects", found, objects, init)
    print("[6/9] tracking: textured targets over moving photographs, that turn, hide and come back")
    tracked = _track(out / "tracking", data.parent / "tracking", videos)

    minutes = (time.monotonic() - started) / 60
    print(f"[7/9] result after {minutes:.1f} minutes: a ViT-Tiny and UPerNet")
    print("                                    mIoU    aAcc")
    print(f"      trained                      {labels['mIoU']:5.1f}   {labels['aAcc']:5.1f}")
    print(f"      always the commonest class   {constant.miou:5.1f}   {constant.aacc:5.1f}")
    print(f"      pictures (image, truth, prediction): {sheet}, and one by one in {out}/overlays")
    print("      and a detector                  AP    AP50")
    values = (boxes[f"coco/bbox_mAP{kind}"] for kind in ("", "_50"))
    print("      trained                      " + "   ".join(f"{value:5.1f}" for value in values))
    print(f"      pictures (truth, prediction): {out}/objects")
    print("      Seconds of pre-training on 120 pictures show the path, not what it is worth.")
    print("[8/9] and a tracker                 AUC       P   P_norm")
    for name, scores in (
        ("the weights that come with this", tracked.scores),
        ("a box that never moves", tracked.unmoved),
    ):
        values = (scores.auc, scores.precision, scores.norm_precision)
        print(f"      {name:<31}" + "".join(f"{value:8.1f}" for value in values))
    print(f"      {tracked.milliseconds:.0f} ms a frame; videos with its boxes: {out / 'tracking'}")
    print("[9/9] the leaderboard: these records beside the results that others published")
    records = out / RECORDS
    _record_tracks(tracked.scores, out / "tracking", data.parent / "tracking", records)
    sources = build.Sources((records,), PUBLISHED)
    boards = build.boards_of(build.read_rows(sources))
    build.write(out / build.FOLDER, build.page_and_table(boards))
    print(f"      tools/leaderboard.py build --records {records} --out {out / build.FOLDER}")
    print(f"      open it in a browser: {(out / build.FOLDER / build.PAGE).resolve()}")
    return {**labels, **boxes, "AUC": tracked.scores.auc}


def _train_and_test(
    config: str, out: Path, pictures: str, predictions: str, data: Path, init: str
) -> dict[str, float]:
    """Train a config on `data` and test it, with overlays in `out/pictures`; its metrics.

    What it predicts stays in `out/predictions`, so that its record can be verified.
    """
    options = (f"data_root={data.resolve()}", init)
    work_dir = _run(config, out, *options)
    checkpoint, kept = latest_checkpoint(work_dir), out / predictions
    places = {"out": kept, "show_dir": out / pictures, "record": out / RECORDS}
    told = " ".join(f"--{name.replace('_', '-')} {path}" for name, path in places.items())
    print(f"      tools/test.py {config} {checkpoint} {told} --cfg-options {options[0]}")
    print(end="", flush=True)
    _make_way(kept)
    places = {name: str(path) for name, path in places.items()}
    return test(config, str(checkpoint), work_dir=str(work_dir), cfg_options=options, **places)


def _track(out: Path, data: Path, videos: dict[str, int] | None) -> DemoTrack:
    """Follow the targets of made videos with the weights that come with the package."""
    print(f"      tools/track.py {data}/disc/disc-1 --out {out}/disc-1.mp4   and others")
    print(end="", flush=True)
    return track_demo(load_tracker_model(), out, data, **(videos or {}))


def _run(config: str, out: Path, *options: str) -> Path:
    """Train a config below `out`, saying how one would by hand; returns its work dir."""
    work_dir = out / Path(config).stem
    print(f"      tools/train.py {config} --work-dir {work_dir} --cfg-options {' '.join(options)}")
    print(end="", flush=True)
    _make_room(work_dir)
    train(config, work_dir=str(work_dir), cfg_options=options)
    return work_dir


def _make_room(work_dir: Path) -> None:
    """Remove the checkpoints of an earlier demo, beside which no pre-training would start.

    Those of another run, which does not have our mark, are left: `train` refuses to start.
    """
    mark, found = work_dir / MARK, run_checkpoints(work_dir)
    if found and not mark.exists():
        return
    for path in found:
        path.unlink()
    work_dir.mkdir(parents=True, exist_ok=True)
    mark.touch()


def _make_way(predictions: Path) -> None:
    """Remove what an earlier demo predicted: its pictures may have had other names."""
    for path in predictions.glob("*.png") if predictions.is_dir() else [predictions]:
        path.unlink(missing_ok=True)


def _record_tracks(scores: TrackerScores, boxes: Path, data: Path, records: Path) -> None:
    """Write the record of the tracker's run over the demo's videos."""
    record = judged_record(scores, boxes, LasotAnnotations(data), "toolkit", data)
    weights = shipped_weights()
    named = {"model": weights.stem, "checkpoint": shown_path(weights)}
    write_record(replace(record, checkpoint_sha256=sha256_of(weights), **named), records)


def baseline(data: Path) -> SegScores:
    """What always predicting the commonest training class scores on the validation masks."""
    counts = []
    for split in ("training", "validation"):
        pairs = find_pairs(
            data, f"images/{split}", f"annotations/{split}", dataset_name="the demo data"
        )
        report = scan(pairs, valid_ids=range(len(CLASSES) + 1))
        counts.append(report.pixels[1 : len(CLASSES) + 1])  # class k is value k + 1
    return commonest_class_scores(*counts)


def write_sheet(pictures: list[Path], out: Path, columns: int = 2) -> None:
    """Set pictures of about equal width on one white sheet, in rows of `columns`."""
    images = [cv2.imread(str(path)) for path in pictures]
    height = max(image.shape[0] for image in images)
    width = max(image.shape[1] for image in images)
    cells = [
        np.pad(
            image,
            ((0, height - image.shape[0]), (0, width - image.shape[1] + 8), (0, 0)),
            constant_values=255,
        )
        for image in images
    ]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    rows = [np.concatenate(cells[i : i + columns], 1) for i in range(0, len(cells), columns)]
    cv2.imwrite(str(out), np.concatenate(rows))
