"""The tracker's part of the demo: videos made from a seed, tracked, drawn and judged."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightvit_bench.data.box_files import write_boxes, write_times
from lightvit_bench.data.demo_tracking import make_demo_sequences
from lightvit_bench.data.frame_folder import open_folder
from lightvit_bench.data.sequence import Sequence
from lightvit_bench.data.video import VideoWriter
from lightvit_bench.tracking.answers import Model
from lightvit_bench.tracking.judging.judge import TrackerScores, annotations_of, judge_boxes
from lightvit_bench.tracking.tracker import Tracker
from lightvit_bench.tracking.watching.draw import Caption, draw_result
from lightvit_bench.tracking.watching.follow import Step, Track, follow


@dataclass(frozen=True)
class DemoTrack:
    """What became of the demo's videos.

    Attributes:
        scores: of the tracker. unmoved: of a box that stays where it is in the first frame.
        milliseconds: the tracker's median time a frame.
        videos: the mp4s with what was found, in the order of the sequences.
    """

    scores: TrackerScores
    unmoved: TrackerScores
    milliseconds: float
    videos: list[Path]


def track_demo(model: Model, out: Path, data: Path, **videos: int) -> DemoTrack:
    """Make the videos in `data` where they are not, track them, and leave results in `out`.

    For each video there are NAME.mp4, NAME.txt and NAME_time.txt. `videos`: of
    `make_demo_sequences`.
    """
    made = make_demo_sequences(data, **videos)
    found = {one.name: one for one in open_folder(data)}
    sequences = [found[name] for name in made.names]
    tracks = {one.name: _track(model, one, out) for one in sequences}
    truth = annotations_of(sequences)
    still = {name: np.repeat(track.boxes[:1], len(track), axis=0) for name, track in tracks.items()}
    return DemoTrack(
        judge_boxes({name: track.boxes for name, track in tracks.items()}, truth),
        judge_boxes(still, truth),
        1000 * statistics.median(np.concatenate([t.seconds[1:] for t in tracks.values()])),
        [out / f"{one.name}.mp4" for one in sequences],
    )


def _track(model: Model, sequence: Sequence, out: Path, fps: float = 30.0) -> Track:
    out.mkdir(parents=True, exist_ok=True)
    with VideoWriter(out / f"{sequence.name}.mp4", fps) as video:

        def draw(step: Step) -> None:
            caption = Caption(step.score, step.fps, sequence.name)
            video.write(draw_result(step.image, step.box, found=step.found, caption=caption))

        frames = (sequence.frames[i] for i in range(len(sequence)))
        box = tuple(sequence.annotation.boxes_xywh[0])
        track = follow(frames, Tracker(model), box, on_frame=draw)
    write_boxes(out / f"{sequence.name}.txt", track.boxes)
    write_times(out / f"{sequence.name}_time.txt", track.seconds)
    return track
