"""What tools/bench_track.py measures: trackers, a video, sequences to compare boxes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError, UserError, printable
from lightvit_bench.tracking.latency.cases import EAGER, EXPORTED, MIL, Clip

DEMO = {"sequences": 2, "frames": 120, "seed": 0}  # where there is no data
RATE, QUALITY = 30.0, 18  # frames/s and x264's crf of a video made from pictures
SUFFIXES = (".xml", ".onnx")


@dataclass(frozen=True)
class Request:
    """What is to be measured; the names are those of the options."""

    models: tuple[str, ...] = ()
    weights: str | None = None
    threads: tuple[int, ...] = (1, 2)
    video: str | None = None
    box: tuple[float, float, float, float] | None = None
    frames: int = 300
    warm_up: int = 20
    rounds: int = 3
    targets: tuple[int, ...] = (1, 2, 4, 8)
    sequences: tuple[str, ...] = ()
    record: str | None = None


@dataclass(frozen=True)
class Entry:
    """A tracker to measure; `failed` says why it could not be made."""

    label: str
    kind: str
    path: str | None = None
    failed: str | None = None


@dataclass(frozen=True)
class ClipSet:
    """Clips whose boxes are compared, and their truth as `judge_boxes` takes it (or {})."""

    name: str
    clips: tuple[Clip, ...]
    truth: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


def check_request(request: Request) -> None:
    """`ConfigError` for numbers and files that nothing can be made of."""
    for name, values, least in (
        ("threads", request.threads, 1),
        ("frames", (request.frames,), 1),
        ("warm-up", (request.warm_up,), 0),
        ("rounds", (request.rounds,), 1),
        ("targets", request.targets, 1),
    ):
        for value in values:
            if value < least:
                raise ConfigError(f"--{name} {value}.", expected=f"{least} or more")
        if len(set(values)) < len(values):
            raise ConfigError(f"--{name} has a number twice.", given=" ".join(map(str, values)))
    if not request.threads:
        raise ConfigError("--threads needs a number.")
    for model in request.models:
        if Path(model).suffix not in SUFFIXES:
            raise ConfigError(
                f"--models takes exported trackers, not {printable(Path(model).name)}.",
                takes="NAME.xml or NAME.onnx (tools/export.py)",
                for_weights="--weights NAME.safetensors (eager PyTorch is always measured)",
            )
    if request.box is not None and request.video is None:
        raise ConfigError("--box says where a target is in --video, which is not given.")


# ---------------------------------------------------------------------------------------- trackers


def entries_of(request: Request, work: Path, say: Callable[[str], None]) -> list[Entry]:
    """Eager PyTorch first, then the files given (or exports of the weights), MIL last."""
    if request.models:
        names = [Path(model).name for model in request.models]
        labels = names if len(set(names)) == len(names) else list(request.models)
        found = [
            Entry(printable(label), EXPORTED, model)
            for label, model in zip(labels, request.models, strict=True)
        ]
    else:
        found = export_all(request.weights, work, say)
    return [Entry("PyTorch eager fp32", EAGER), *found, Entry("OpenCV MIL", MIL)]


def export_all(weights: str | None, work: Path, say: Callable[[str], None]) -> list[Entry]:
    """The weights exported for every runtime that is installed, in every precision it has."""
    from lightvit_bench.tracking.runtimes.load import RUNTIMES, installed

    kinds = []
    if "openvino" in installed():
        from lightvit_bench.openvino_core import has_bfloat16

        capable = has_bfloat16()
        if not capable:
            say("this CPU has no bfloat16: OpenVINO is measured in fp32 and int8")
        kinds += [("openvino", one) for one in ("fp32", *["bf16"] * capable, "int8")]
    if "onnxruntime" in installed():
        kinds += [("onnxruntime", one) for one in ("fp32", "int8")]
    found, crops = [], []
    for runtime, precision in kinds:
        label = f"{RUNTIMES[runtime].title} {precision}"
        path = work / f"{runtime}_{precision}{RUNTIMES[runtime].suffix}"
        say(f"exporting: {label}")
        try:
            from lightvit_bench.tracking.exporting.crops import made_crops
            from lightvit_bench.tracking.exporting.write import export_model
            from lightvit_bench.tracking.files import load_tracker_model

            crops = crops or made_crops(load_tracker_model(weights))
            format = "openvino" if runtime == "openvino" else "onnx"
            export_model(weights, path, crops, format=format, precision=precision)
        except (UserError, ImportError) as error:
            failed = f"{type(error).__name__}: {error}"
            say(f"{label}: failed: {failed}")
            found.append(Entry(label, EXPORTED, str(path), failed))
        else:
            found.append(Entry(label, EXPORTED, str(path)))
    return found


def sha256_of_weights(weights: str | None) -> str | None:
    """Of the weights that all cases have to share; None where there is no PyTorch to ask."""
    from lightvit_bench.bench.provenance import sha256_of

    if weights is None:
        try:
            from lightvit_bench.tracking.files import shipped_weights
        except ImportError:
            return None
        weights = shipped_weights()
    if not Path(weights).is_file():
        raise MissingDataError("the tracker's weights are not there.", looked_for=str(weights))
    return sha256_of(weights)


# ------------------------------------------------------------------------------------------- data


def prepare(request: Request, work: Path) -> tuple[Clip, list[ClipSet], bool]:
    """The video to time, the sets whose boxes are compared, and whether the video was made here.

    Without `--sequences` the boxes are those of the video: of its folder, with truth, where it is
    one. Without a video one is made.
    """
    folders, box, video = list(request.sequences), request.box, request.video
    generated = video is None
    if video is None:
        from lightvit_bench.data.demo_tracking import make_demo_sequences

        made = make_demo_sequences(work / "demo", **DEMO)
        folders = folders or [str(made.root)]
        video = str(made.root / made.names[0].split("-")[0] / made.names[0])
    path = Path(video)
    if path.is_dir():
        if (path / "groundtruth.txt").is_file():
            folders = folders or [video]
            box = box or _first_box(video)
        name, path = path.resolve().name, _encoded(path, work)
    else:
        name = path.name
    if box is None:
        raise ConfigError(
            "nothing says where the target is in the video's first frame.",
            knob="--box x,y,w,h (left, top, width, height in pixels)",
        )
    clip = _measured(Clip(printable(name), str(path.absolute()), tuple(map(float, box))))
    sets = [clip_set(folder) for folder in folders] or [ClipSet(clip.name, (clip,))]
    names = [one.name for one in sets]
    if len(set(names)) < len(names):
        raise ConfigError("two of --sequences have one name.", given=" ".join(names))
    return clip, sets, generated


def clip_set(folder: str) -> ClipSet:
    """The sequences of a folder; it is called as its only sequence, or as the folder."""
    from lightvit_bench.data.frame_folder import open_folder
    from lightvit_bench.tracking.judging.judge import annotations_of

    sequences = open_folder(folder)
    clips = []
    for one in sequences:
        place = Path(one.frames.name(0)).parent
        if not place.is_dir():
            raise ConfigError("--sequences takes folders, not archives.", given=printable(folder))
        box = tuple(map(float, one.annotation.boxes_xywh[0]))
        clips.append(Clip(one.name, str(place.absolute()), box))
    name = clips[0].name if len(clips) == 1 else Path(folder).resolve().name
    return ClipSet(printable(name), tuple(clips), annotations_of(sequences))


def _first_box(folder: str) -> tuple[float, ...]:
    from lightvit_bench.data.box_files import read_boxes

    return tuple(map(float, read_boxes(Path(folder) / "groundtruth.txt")[0]))


def _encoded(folder: Path, work: Path) -> Path:
    """A folder's pictures as a video: what a tracker reads is decoded from H.264 as a rule."""
    from lightvit_bench.data.video import VideoWriter, open_source

    path = work / "video.mp4"
    with closing(open_source(folder)) as source, VideoWriter(path, RATE, crf=QUALITY) as writer:
        for frame in source:
            writer.write(frame)
    return path


def _measured(clip: Clip) -> Clip:
    """With the size of its frames."""
    from lightvit_bench.data.video import open_source

    with closing(open_source(clip.path)) as source:
        image = next(iter(source), None)
    if image is None:
        raise BadDataError("there is no frame in the video.", video=clip.path)
    return replace(clip, height=image.shape[0], width=image.shape[1])
