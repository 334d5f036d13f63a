"""tools/reconstruct.py's function: a picture of named images from a run's checkpoint."""

import cv2
import numpy as np
import pytest
import torch

import lightvit_bench.registry  # noqa: F401
from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError
from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.openmmlab.model import build_model
from lightvit_bench.pretrain.draw import central_square, draw_reconstructions

OPTIONS = ["model.backbone.preset=vit_test", "model.backbone.img_size=64"]


@pytest.fixture
def image(tmp_path):
    """200 x 100 pixels: red, and green in the central square."""
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[..., 2] = 255
    pixels[:, 50:150] = (0, 255, 0)
    cv2.imwrite(str(tmp_path / "image.png"), pixels)
    return tmp_path / "image.png"


def test_the_central_square_of_an_image(image):
    square = central_square(image, 64)
    assert square.shape == (3, 64, 64) and square.dtype == torch.uint8
    assert (square == torch.tensor([0, 255, 0]).view(3, 1, 1)).all()


def test_a_checkpoint_draws(repo, image, tmp_path):
    config = str(repo / "configs/pretrain/mae_tiny.py")
    model = build_model(load_config(config, OPTIONS))
    torch.save({"state_dict": model.state_dict(), "meta": {}}, tmp_path / "iter_1.pth")
    out = tmp_path / "out.png"
    draw_reconstructions(config, tmp_path / "iter_1.pth", [image], out, cfg_options=OPTIONS)
    picture = cv2.imread(str(out))
    assert picture.shape[1] > 3 * 64 and (picture[2:66, 2:66] == (0, 255, 0)).all()
    masked = picture[2:66, 68:132]
    seen = (masked == (0, 255, 0)).all(axis=-1).mean()
    assert seen == 0.25
    teacherless = [*OPTIONS, "model.distill.teacher.preset=vit_test"]
    tinymim = str(repo / "configs/pretrain/tinymim_tiny.py")
    teacherless += ["model.distill.teacher.img_size=64", "model.distill.relation=[(3,3)]"]
    model = build_model(load_config(tinymim, [*teacherless, "model.distill.teacher.init=random"]))
    torch.save({"state_dict": model.state_dict(), "meta": {}}, tmp_path / "iter_2.pth")
    with pytest.raises(ConfigError, match="reconstructs no images"):
        draw_reconstructions(
            tinymim, tmp_path / "iter_2.pth", [image], out, cfg_options=teacherless
        )


def test_images_that_are_not_there_or_not_images(tmp_path):
    with pytest.raises(MissingDataError, match="not there"):
        central_square(tmp_path / "none.jpg", 64)
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(BadDataError, match="text.jpg"):
        central_square(tmp_path / "text.jpg", 64)
