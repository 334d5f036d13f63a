"""Pictures of reconstructions: where they lie, what is on them, what they leave alone."""

import logging
import random
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from tiny_run import DISTILLED, run, small_config

import lightvit_bench.registry  # noqa: F401
from lightvit_bench.errors import ConfigError
from lightvit_bench.pretrain.dataset import PretrainImages
from lightvit_bench.pretrain.pictures import GAP, LINE, ReconstructionPictures, contact_sheet

UNMASKED = """
    decoder=None, mask_ratio=0,
    distill=dict(teacher=dict(preset='vit_test', init='random'), relation=[(3, 3)]),
"""


@pytest.fixture(scope="module")
def images(demo_root):
    return demo_root / "images/training"


class Backend:
    """A place that keeps pictures, as TensorBoard is."""

    def __init__(self):
        self.kept = []

    def add_image(self, name, image, step):
        self.kept.append((name, image, step))


def runner_of(images, folder, preset="vit_test", side=64, mask_ratio=0.75):
    """What the hook asks of a runner."""
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type="Pretraining",
            data_preprocessor=dict(type="PixelNormalizer", mean=[120.0] * 3, std=[60.0] * 3),
            backbone=dict(preset=preset, drop_path=0.2),
            decoder=dict(width=16, depth=1, heads=2),
            mask_ratio=mask_ratio,
        )
    )
    dataset = PretrainImages(str(images), crop_size=side)
    return SimpleNamespace(
        model=model.train(),
        work_dir=str(folder),
        rank=0,
        iter=0,
        max_iters=10,
        train_dataloader=SimpleNamespace(dataset=dataset),
        visualizer=SimpleNamespace(_vis_backends={"board": Backend()}),
    )


def cells(sheet: np.ndarray, side: int) -> np.ndarray:
    """The pictures on a sheet of two images a row: (rows, 2, 3, side, side, 3)."""
    rows = (sheet.shape[0] - LINE) // (side + LINE)
    lefts = [LINE + i * (3 * (side + LINE) + GAP) + j * (side + LINE)
             for i in range(2) for j in range(3)]  # fmt: skip
    tops = [LINE + r * (side + LINE) for r in range(rows)]
    found = [[sheet[t : t + side, x : x + side] for x in lefts] for t in tops]
    return np.array(found).reshape(rows, 2, 3, side, side, 3)


def test_sheet_holds_every_picture_in_its_place():
    torch.manual_seed(0)
    columns = [torch.randint(0, 250, (3, 3, 8, 8), dtype=torch.uint8) for _ in range(3)]
    sheet = contact_sheet(columns)
    assert sheet.shape == (2 * (8 + LINE) + LINE, 2 * 3 * (8 + LINE) + GAP + LINE, 3)
    found = cells(sheet, 8)
    for i in range(3):
        for j in range(3):
            assert np.array_equal(found[i // 2, i % 2, j], columns[j][i].permute(1, 2, 0).numpy())
    assert np.all(found[1, 1] == 255)  # no fourth image
    assert np.sum(np.any(sheet != 255, axis=-1)) == 9 * 64  # all else is white


@pytest.mark.parametrize(
    "preset, side, mask_ratio, hidden",
    [("vit_test", 64, 0.75, 12 / 16), ("hiera_test", 128, 0.4, 7 / 16)],
)
def test_original_masked_predicted(images, tmp_path, preset, side, mask_ratio, hidden):
    runner = runner_of(images, tmp_path, preset, side, mask_ratio)
    hook = ReconstructionPictures(interval=2, images=4)
    path = hook.draw(runner, 2)
    (name, sheet, step), = runner.visualizer._vis_backends["board"].kept  # fmt: skip
    assert (name, step) == ("reconstructions", 2)
    found = cells(sheet, side).reshape(4, 3, side, side, 3).astype(int)
    dataset = runner.train_dataloader.dataset
    for i, (original, masked, painted) in enumerate(found):
        wanted = dataset[i * len(dataset) // 4]["inputs"].permute(1, 2, 0).numpy()
        assert np.array_equal(original, wanted)
        grey = np.all(masked == 120, axis=-1)  # the mean colour
        assert grey.mean() == pytest.approx(hidden, abs=0.02)
        assert np.array_equal(masked[~grey], original[~grey])
        assert np.array_equal(painted[~grey], original[~grey])
        assert np.any(painted[grey] != original[grey])
    written = cv2.imread(str(path))[..., ::-1].astype(int)  # as RGB
    assert written.shape == sheet.shape
    assert np.abs(written - sheet).mean() < 12  # a JPEG; with swapped channels 30 and more
    assert np.abs(written[..., ::-1] - sheet).mean() > np.abs(written - sheet).mean() + 5


def test_always_the_same_images_behind_the_same_masks(images, tmp_path):
    runner, again = runner_of(images, tmp_path), runner_of(images, tmp_path)
    hook = ReconstructionPictures(interval=1, images=4)
    hook.draw(runner, 1)
    torch.rand(17)
    with torch.no_grad():
        for parameter in runner.model.method.decoder.parameters():
            parameter.add_(0.1)
    hook.draw(runner, 2)
    ReconstructionPictures(interval=1, images=4).draw(again, 3)  # of a run that was resumed
    kept = [r.visualizer._vis_backends["board"].kept for r in (runner, again)]
    first, second, third = (cells(sheet, 64) for _, sheet, _ in [*kept[0], *kept[1]])
    assert np.array_equal(first[:, :, :2], second[:, :, :2])
    assert not np.array_equal(first[:, :, 2], second[:, :, 2])
    assert np.array_equal(first, third)


def test_random_states_and_training_mode_are_left_alone(images, tmp_path):
    class Careless(PretrainImages):
        def __getitem__(self, index):
            random.seed(1), np.random.seed(1), torch.manual_seed(1)
            return super().__getitem__(index)

    runner = runner_of(images, tmp_path)
    runner.train_dataloader.dataset = Careless(str(images), crop_size=64)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    ReconstructionPictures(interval=1).draw(runner, 1)
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])
    assert all(module.training for module in runner.model.modules())
    assert all(p.grad is None for p in runner.model.parameters())


def test_in_a_run(images, tmp_path):
    """Every interval and at the end; with or without pictures the weights are the same."""
    config = small_config(tmp_path, images, model=f"{DISTILLED} accumulate=2")
    drawn = run(config, tmp_path / "drawn", "default_hooks.pictures.interval=4")
    names = {path.name for path in (tmp_path / "drawn/pictures").iterdir()}
    assert names == {"iter_4.jpg", "iter_6.jpg", "latest.jpg"}
    latest, last, first = (
        (tmp_path / "drawn/pictures" / name).read_bytes()
        for name in ("latest.jpg", "iter_6.jpg", "iter_4.jpg")
    )
    assert latest == last != first
    plain = run(config, tmp_path / "plain")
    assert not (tmp_path / "plain/pictures").exists()
    for name, value in drawn.model.state_dict().items():
        assert torch.equal(value, plain.model.state_dict()[name]), name


def test_nothing_is_drawn_of_what_reconstructs_nothing(images, tmp_path, caplog):
    config = small_config(tmp_path, images)
    text = config.read_text().replace("    decoder=dict(width=16, depth=1, heads=2),\n", UNMASKED)
    config.write_text(text)
    with caplog.at_level(logging.INFO):
        run(config, tmp_path / "run", "default_hooks.pictures.interval=2", "log_level=INFO")
    assert not (tmp_path / "run/pictures").exists()
    log = next((tmp_path / "run").glob("*/*.log")).read_text()
    assert log.count("reconstructs no images") == 1


@pytest.mark.parametrize("wrong", [dict(interval=-1), dict(images=0)])
def test_numbers_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ConfigError, match="pictures"):
        ReconstructionPictures(**wrong)
