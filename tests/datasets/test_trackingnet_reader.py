"""TrackingNet from folders, an archive for each video, and an archive for each chunk."""

import numpy as np
import pytest
from tracking_files import below, boxes, encoded, lines, picture, write_archive, write_files

from lightvit_bench.data import trackingnet
from lightvit_bench.data.trackingnet import open_trackingnet
from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError

COUNT = 12  # frames: 9 has to come before 10


def frames() -> dict[str, bytes]:
    return {f"{i}.jpg": encoded(picture(i)) for i in range(COUNT)}


def chunk(*videos: str, first_only: bool = False) -> dict[str, bytes]:
    files = {}
    for video in videos:
        rows = boxes(COUNT)[: 1 if first_only else COUNT]
        files[f"anno/{video}.txt"] = lines(rows, "%.2f")
        files |= below(f"frames/{video}", frames())
    return files


def annos(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name.startswith("anno/")}


@pytest.fixture(params=["folders", "video zips", "deep video zips", "chunk zips", "bare", "one"])
def root(request, tmp_path):
    root = tmp_path / "trackingnet"
    parts = {
        "TRAIN_0": chunk("aaa", "b_0"),
        "TRAIN_11": chunk("ccc"),
        "TEST": chunk("ttt", first_only=True),
    }
    if request.param == "one":
        whole = {k: v for name, part in parts.items() for k, v in below(name, part).items()}
        return write_archive(tmp_path / "all.zip", whole)
    for name, part in parts.items():
        if request.param == "folders":
            write_files(root / name, part)
        elif request.param == "chunk zips":
            write_archive(root / f"{name}.zip", below(name, part))
        elif request.param == "bare":
            write_archive(root / f"{name}.zip", part)
        else:
            write_files(root / name, annos(part))
            for text in annos(part):
                video = text[len("anno/") : -len(".txt")]
                deep = request.param == "deep video zips"
                files = below(video, frames()) if deep else frames()
                write_archive(root / name / f"zips/{video}.zip", files)
    return root


def test_every_form_gives_the_same(root):
    said = []
    train = open_trackingnet(root, "train", chunks=[0, 11], say=said.append)
    assert [s.name for s in train] == ["aaa", "b_0", "ccc"] and not said
    assert train[0].dataset == "trackingnet"
    for sequence in train:
        assert len(sequence) == COUNT
        for i in (0, 9, 10, 11):
            assert np.abs(sequence.frames[i].astype(int) - picture(i)).max() <= 3
        assert sequence.frames.name(10).endswith("10.jpg")
        np.testing.assert_array_equal(sequence.annotation.boxes_xywh, boxes(COUNT))
        assert sequence.annotation.visible.all()


def test_the_test_split_has_one_box(root):
    (only,) = open_trackingnet(root, "test", say=[].append)
    boxes_xywh = only.annotation.boxes_xywh
    np.testing.assert_array_equal(boxes_xywh[0], boxes(1)[0])
    assert boxes_xywh.shape == (COUNT, 4) and np.isnan(boxes_xywh[1:]).all()
    with pytest.raises(BadDataError, match="1 of the 511"):
        open_trackingnet(root, "test", expect_all=True)


def test_chunks_that_are_not_there(root):
    said = []
    assert len(open_trackingnet(root, "train", say=said.append)) == 3
    assert "3 of the 30,132" in said[0] and "all of TRAIN_1, all of TRAIN_2" in said[0]
    with pytest.raises(BadDataError, match="all of TRAIN_3"):
        open_trackingnet(root, "train", chunks=[0, 3], expect_all=True)
    with pytest.raises(MissingDataError, match="docs/datasets.md#trackingnet"):
        open_trackingnet(root, "train", chunks=[3])
    for chunks in ([12], []):
        with pytest.raises(ConfigError):
            open_trackingnet(root, "train", chunks=chunks)


def test_boxes_without_frames_are_told_of(tmp_path):
    files = chunk("aaa") | {"anno/bbb.txt": b"1,2,3,4\n"}
    root, said = write_files(tmp_path / "TRAIN_5", files).parent, []
    assert [s.name for s in open_trackingnet(root, chunks=[5], say=said.append)] == ["aaa"]
    assert said == ["TrackingNet train: 1 of the 2 sequences. Missing: frames of TRAIN_5/bbb."]
    with pytest.raises(BadDataError, match="TRAIN_5/bbb"):
        open_trackingnet(root, chunks=[5], expect_all=True)


def test_a_training_video_needs_all_boxes(tmp_path):
    files = chunk("aaa") | {"anno/aaa.txt": b"1,2,3,4\n"}
    root = write_files(tmp_path / "TRAIN_5", files).parent
    (only,) = open_trackingnet(root, chunks=[5])
    with pytest.raises(BadDataError, match="1 boxes for 12 frames"):
        _ = only.annotation


def test_archives_of_videos_are_opened_late_and_damage_is_named(tmp_path, monkeypatch):
    write_files(tmp_path / "TRAIN_0", annos(chunk("aaa", "bbb")))
    write_archive(tmp_path / "TRAIN_0/zips/aaa.zip", frames())
    (tmp_path / "TRAIN_0/zips/bbb.zip").write_bytes(b"PK\3\4 cut short")
    good, bad = open_trackingnet(tmp_path, chunks=[0])
    assert len(good) == COUNT
    with pytest.raises(BadDataError, match="zips/bbb.zip"):
        len(bad)


def test_archives_within_an_archive_are_refused(tmp_path):
    inner = write_archive(tmp_path / "inner.zip", frames()).read_bytes()
    files = annos(chunk("aaa")) | {"zips/aaa.zip": inner}
    write_archive(tmp_path / "root/TRAIN_0.zip", below("TRAIN_0", files))
    with pytest.raises(BadDataError, match="in another archive"):
        open_trackingnet(tmp_path / "root", chunks=[0])


def test_two_videos_of_one_name(tmp_path):
    for name in ("TRAIN_0", "TRAIN_1"):
        write_files(tmp_path / name, chunk("aaa"))
    with pytest.raises(BadDataError, match="one name"):
        open_trackingnet(tmp_path, chunks=[0, 1])


def test_the_counts_are_the_official_ones():
    assert trackingnet.COUNTS == {"train": 30132, "test": 511}
