"""tools/pack_images.py as a person runs it."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from lightvit_bench.pretrain.sources import open_source

pytestmark = pytest.mark.slow


@pytest.fixture
def pack(repo, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(5):
        pixels = np.full((40, 50, 3), 40 * i, np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")

    def run(*arguments):
        return subprocess.run(
            [sys.executable, str(repo / "tools/pack_images.py"), *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=False,
            text=True,
            timeout=300,
        )

    return run


def test_it_packs_and_says_what_became_of_the_images(pack, tmp_path):
    options = ("--short-side", 32, "--images-per-shard", 2)
    done = pack("images", "out", *options, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert "images      5\n" in done.stdout and "written     out" in done.stdout
    assert "5/5 images" in done.stderr
    source = open_source(tmp_path / "out")
    assert [source.name(i) for i in range(5)] == [f"{i}.jpg" for i in range(5)]
    assert len(source.tars) == 3

    done = pack("images", "out", *options, "--quality", 80, "--workers", 0)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "quality: 90 there, 80 asked for" in done.stderr


def test_too_many_unreadable_images_end_it_with_a_message(pack, tmp_path):
    for i in range(2):
        (tmp_path / f"images/{i}.png").write_bytes(b"no image")
    done = pack("images", "out", "--workers", 0)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "0.png: not an image" in done.stderr and "--max-unreadable" in done.stderr
    done = pack("images", "out", "--workers", 0, "--max-unreadable", 0.5)
    assert done.returncode == 0 and "unreadable  2" in done.stdout, done.stderr


def test_help_does_not_wait_for_torch(repo):
    code = (
        "import sys, runpy; sys.argv = ['pack_images.py', '--help']\n"
        "try: runpy.run_path('tools/pack_images.py', run_name='__main__')\n"
        "except SystemExit: sys.exit('torch' in sys.modules or 'cv2' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--short-side" in done.stdout
