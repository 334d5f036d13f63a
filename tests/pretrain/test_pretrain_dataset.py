"""Samples replay by their draw; what cannot be read is replaced, told of, and limited."""

import logging
import os
import re
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, FUNCTIONS, HOOKS
from PIL import Image
from tiny_run import start, write_config
from torch.utils.data import DataLoader

from lightvit_bench.errors import BadDataError, MissingDataError
from lightvit_bench.openmmlab.replay import Draw
from lightvit_bench.pretrain import dataset as module
from lightvit_bench.pretrain.dataset import (
    ImageReport,
    PretrainImages,
    collate_images,
    generator,
    loader_rate,
)
from lightvit_bench.pretrain.sampler import EpochSampler

NAMES = [f"{kind}/{i}.jpg" for kind in "ab" for i in range(6)]


@pytest.fixture
def root(tmp_path):
    """Twelve images, 60x50; `a/2.jpg` is 20x30."""
    for i, name in enumerate(NAMES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        size = (30, 20) if name == "a/2.jpg" else (50, 60)
        pixels = np.random.default_rng(i).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-200])


def make(root, **options):
    return PretrainImages(str(root), **{"crop_size": 32, **options})


def loader(dataset, workers, skip=0, **options):
    sampler = EpochSampler(dataset, seed=5, batch=4)
    sampler.skip(skip)
    return DataLoader(dataset, 4, sampler=sampler, num_workers=workers,
                      collate_fn=collate_images, **options)  # fmt: skip


WORKERS = [(1, "fork"), (2, "fork"), pytest.param(1, "spawn", marks=pytest.mark.slow)]


def test_a_sample(root):
    dataset = make(root)
    assert len(dataset) == 12 and dataset.names([2, torch.tensor(7)]) == ["a/2.jpg", "b/1.jpg"]
    sample = dataset[3]
    assert sample["inputs"].shape == (3, 32, 32) and sample["inputs"].dtype == torch.uint8
    assert (sample["index"], sample["replaced"], sample["small"]) == (3, [], False)
    assert dataset[2]["small"]


def test_randomness_is_of_seed_and_number_alone(root):
    dataset = make(root)
    first = dataset[Draw(3, seed=1, number=9)]["inputs"]
    dataset[4]
    assert torch.equal(make(root)[Draw(3, 1, 9)]["inputs"], first)
    for other in (Draw(3, 1, 10), Draw(3, 2, 9), Draw(3, 9, 1)):
        assert not torch.equal(dataset[other]["inputs"], first)


def test_neighbouring_draws_are_unrelated():
    """Over numbers, and over seeds, first draws are uniform and uncorrelated."""
    for draws in (
        [Draw(0, 7, number) for number in range(4000)],
        [Draw(0, seed, 7) for seed in range(4000)],
    ):
        values = np.array([[g.random(), g.random()] for g in map(generator, draws)])
        assert np.abs(np.sort(values[:, 0]) - np.linspace(0, 1, 4000)).max() < 0.035
        assert abs(np.corrcoef(values[1:, 0], values[:-1, 0])[0, 1]) < 0.06
        assert abs(np.corrcoef(values[:, 0], values[:, 1])[0, 1]) < 0.06


def same(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for one, two in zip(ours, theirs, strict=True):
        assert torch.equal(one["inputs"], two["inputs"]) and torch.equal(one["index"], two["index"])
        assert (one["replaced"], one["small"]) == (two["replaced"], two["small"])


@pytest.mark.parametrize("workers, context", WORKERS)
def test_workers_and_a_resume_change_nothing(root, workers, context):
    cut_off(root / "b/0.jpg")
    dataset = make(root)
    whole = list(islice(loader(dataset, 0), 8))
    assert whole[0]["inputs"].shape == (4, 3, 32, 32) and whole[0]["index"].dtype == torch.int64
    assert sum(batch["small"] for batch in whole) >= 2
    pairs = {pair for batch in whole for pair in batch["replaced"]}
    assert [index for index, _ in pairs] == [6]
    same(list(islice(loader(dataset, workers, multiprocessing_context=context), 8)), whole)
    same(list(islice(loader(dataset, workers, 12, multiprocessing_context=context), 5)), whole[3:])


def test_a_pack_gives_the_same_samples(root, tmp_path_factory):
    from lightvit_bench.pretrain.shards import pack_images

    out = tmp_path_factory.mktemp("packs") / "pack"
    pack_images(root, out, short_side=64, images_per_shard=5, workers=0)
    same(list(islice(loader(make(out), 2), 3)), list(islice(loader(make(root), 0), 3)))


@pytest.mark.parametrize("index, used", [(1, 3), (11, 0)])
def test_an_unreadable_image_is_replaced_by_the_next(root, index, used):
    for name in ("a/1.jpg", "a/2.jpg", "b/5.jpg"):
        cut_off(root / name)
    (root / "a/2.jpg").unlink()
    (root / "a/2.jpg").symlink_to("nowhere")
    sample = make(root)[Draw(index, 1, 5)]
    assert sample["index"] == used
    indices = [1, 2] if index == 1 else [11]
    assert [i for i, _ in sample["replaced"]] == indices
    assert "truncated" in sample["replaced"][0][1]
    if index == 1:
        assert sample["replaced"][1][1] == "No such file or directory"
    assert torch.equal(sample["inputs"], make(root)[Draw(used, 1, 5)]["inputs"])


def test_twenty_in_a_row_are_too_many(root, monkeypatch):
    monkeypatch.setattr(module, "_IN_A_ROW", 3)
    for i in range(3):
        cut_off(root / f"a/{i}.jpg")
    assert make(root)[1]["index"] == 3
    with pytest.raises(BadDataError, match="3 images in a row") as caught:
        make(root)[0]
    assert "a/2.jpg: " in str(caught.value)
    with pytest.raises(BadDataError, match="3 images in a row"):  # out of a worker, too
        next(iter(DataLoader(make(root), 1, num_workers=1, collate_fn=collate_images)))


def test_images_below_min_side_are_unreadable(root):
    sample = make(root, min_side=21)[2]
    assert sample["index"] == 3
    assert sample["replaced"] == [(2, "20x30 pixels, smaller than min_side 21")]
    assert make(root, min_side=20)[2]["index"] == 2


def test_no_descriptor_is_left_open(root):
    import os

    dataset = make(root)
    dataset[0]
    before = len(os.listdir("/proc/self/fd"))
    samples = [dataset[i] for i in range(12)]
    assert len(os.listdir("/proc/self/fd")) == before and len(samples) == 12


def test_data_root_is_looked_for_where_other_data_is(root, monkeypatch):
    monkeypatch.setenv("LIGHTVIT_DATA", str(root))
    assert len(PretrainImages("data/a")) == 6
    with pytest.raises(MissingDataError, match="--cfg-options data_root=") as caught:
        PretrainImages("data/imagenet")
    assert str(root / "imagenet") in str(caught.value)


def test_mmengine_finds_the_parts():
    assert DATASETS.get("PretrainImages") is PretrainImages
    assert FUNCTIONS.get("collate_images") is collate_images
    assert HOOKS.get("ImageReport") is ImageReport


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(
        module, "print_log", lambda text, logger, level=logging.INFO: lines.append((level, text))
    )
    return lines


def batch(*replaced, images=4, small=0):
    return {"inputs": torch.zeros(images), "replaced": list(replaced), "small": small}


def runner(dataset):
    return SimpleNamespace(train_dataloader=SimpleNamespace(dataset=dataset))


def test_report_names_each_file_once(root, said):
    report, run = ImageReport(), runner(make(root, max_unreadable=0.2))
    for index in (1, 1, 6):
        report.after_train_iter(run, 0, batch((index, "cut off")))
    assert said == [
        (logging.WARNING, "unreadable, replaced by the next: a/1.jpg: cut off"),
        (logging.WARNING, "unreadable, replaced by the next: b/0.jpg: cut off"),
    ]


@pytest.mark.parametrize("part, allowed", [(0, 0), (0.001, 1), (0.17, 2)])
def test_report_ends_the_run_beyond_the_limit(root, said, part, allowed):
    report, run = ImageReport(), runner(make(root, max_unreadable=part))
    for index in range(allowed):
        report.after_train_iter(run, 0, batch((index, "cut off")))
        report.after_train_iter(run, 0, batch((index, "cut off")))
    with pytest.raises(BadDataError, match=f"{allowed + 1} of 12 images.*{allowed} may") as caught:
        report.after_train_iter(run, 0, batch((allowed, "cut off")))
    assert "max_unreadable" in str(caught.value) and "a/0.jpg: cut off" in str(caught.value)


def test_report_tells_of_small_images_once_and_of_both_at_the_end(root, said):
    report, run = ImageReport(small_after=2), runner(make(root))
    report.after_train_iter(run, 0, batch(small=1))
    assert not said
    for _ in range(3):
        report.after_train_iter(run, 0, batch(small=2))
    assert [text for _, text in said] == [
        "3 of the first 8 images are smaller than the crop of 32 (enlarged)"
    ]
    report.after_train_iter(run, 0, batch((1, "cut off")))
    report.after_train(run)
    assert said[-1][1] == (
        "of 20 images drawn 7 were smaller than the crop of 32 (enlarged); "
        "unreadable files: 1\n  a/1.jpg: cut off"
    )


def test_report_adds_up_the_ranks(root, said, monkeypatch):
    others = {dict: {1: "cut off", 7: "empty file"}, tuple: (10, 100)}
    monkeypatch.setattr(module, "all_gather_object", lambda mine: [mine, others[type(mine)]])
    report, run = ImageReport(), runner(make(root, max_unreadable=0.5))
    report.after_train_iter(run, 0, batch((1, "cut off"), small=3))
    report.after_train(run)
    told = [text for _, text in said if text.startswith("unreadable, replaced")]
    assert [text.split(": ")[1] for text in told] == ["a/1.jpg", "b/1.jpg"]  # once each
    assert said[-1][1].startswith("of 104 images drawn 13 were smaller")
    assert "unreadable files: 2" in said[-1][1] and "b/1.jpg: empty file" in said[-1][1]


def test_ranks_judge_together(root, said, monkeypatch):
    """Two files each, none of them too many alone; both raise, after the same iteration."""
    monkeypatch.setattr(module, "is_distributed", lambda: True)
    run, errors = runner(make(root, max_unreadable=0.26)), {}
    ranks = [ImageReport(interval=3) for _ in range(2)]
    monkeypatch.setattr(
        module, "all_gather_object", lambda mine: [dict(rank.unreadable) for rank in ranks]
    )
    for iteration in range(4):
        for i, rank in enumerate(ranks):
            rank.unreadable |= {6 * i: "cut off", 6 * i + 1: "cut off"} if iteration == 1 else {}
        for i, rank in enumerate(ranks):
            try:
                rank.after_train_iter(run, iteration, batch())
            except BadDataError as error:
                errors.setdefault(i, (iteration, str(error)))
    assert [errors[i][0] for i in range(2)] == [2, 2] and errors[0] == errors[1]
    assert "4 of 12 images cannot be read, 3 may" in errors[0][1]


@pytest.mark.slow
def test_two_processes_end_with_one_message(tmp_path):
    """Three of ten files are broken; the second process is not the only one to say so."""
    config = write_config(tmp_path, hooks=", dict(type='ImageReport', interval=2)")
    for i in range(3):
        cut_off(tmp_path / f"images/image_{i}.png")
    process = start(config, tmp_path / "run", ranks=2)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert output.count("BadDataError: ") == 1, output
    assert "of 10 images cannot be read, 1 may" in output and "rank 1: " not in output
    told = re.findall(r"replaced by the next: (\S+):", output)
    assert len(told) == len(set(told)) >= 2


def test_names_are_told_in_one_line(root, said):
    strange = os.fsdecode(b"a/\xe9\n.jpg")
    (root / "a/1.jpg").rename(root / strange)
    dataset = make(root, max_unreadable=0.0)
    index = dataset.names(range(12)).index(strange)
    with pytest.raises(BadDataError) as caught:
        ImageReport().after_train_iter(runner(dataset), 0, batch((index, "cut off")))
    assert said[0][1] == r"unreadable, replaced by the next: a/\udce9\n.jpg: cut off"
    assert r"a/\udce9\n.jpg: cut off" in str(caught.value)


def test_the_rate_counts_what_was_delivered(root, monkeypatch):
    """Ten images in batches of four are twelve, in six seconds of a clock of our own."""
    ticks = iter((10.0, 16.0))
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(ticks))
    assert loader_rate(str(root), workers=0, images=10, crop_size=32, batch=4) == 2.0
