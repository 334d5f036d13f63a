"""tools/convert_checkpoint.py as a person runs it."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import layouts
import pytest
import torch

from lightvit_bench.checkpoint import CONVERTERS, load_encoder, read_manifest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools/convert_checkpoint.py"


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def assert_refused(done, *parts):
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and done.stderr.startswith("CheckpointError: ")
    for part in parts:
        assert part in done.stderr


def test_converts_from_any_folder_and_reports(tmp_path):
    torch.save(layouts.d2mae(), tmp_path / "source.pth.tar")
    arguments = ("source.pth.tar", "new/out.safetensors", "--from", "mae-lite-pretrain")
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for part in ("vit_tiny_p16_h12, 12 heads", "d2mae", "teacher", "norm_depth8"):
        assert part in done.stdout
    manifest = read_manifest(tmp_path / "new/out.safetensors")
    assert manifest.recipe == "d2mae" and manifest.parents[0].name == "source.pth.tar"
    assert load_encoder(tmp_path / "new/out.safetensors").preset.heads == 12


def run_here(monkeypatch, folder, *arguments):
    """The tool in this process, which has torch imported already."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [str(TOOL), *arguments])
    runpy.run_path(str(TOOL), run_name="__main__")


def test_timm_says_the_warning(tmp_path, monkeypatch, capsys):
    torch.save(layouts.supervised(), tmp_path / "s.pth")
    arguments = ("s.pth", "o.safetensors", "--from", "timm", "--preset", "vit_tiny_p16_h3")
    with warnings.catch_warnings():
        run_here(monkeypatch, tmp_path, *arguments, "--image-stats", "half")
    out = capsys.readouterr().out
    assert "WARNING" in out and "3 heads" in out
    manifest = read_manifest(tmp_path / "o.safetensors")
    assert manifest.image_mean == (0.5, 0.5, 0.5) and manifest.heads_from == "unverified"


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_bad_input_exits_with_2_and_no_traceback(tmp_path):
    marker = tmp_path / "marker"
    torch.save({"model": {"a": Touch(marker)}}, tmp_path / "evil.pth")
    done = run("evil.pth", "o.safetensors", "--from", "mae-lite-pretrain", cwd=tmp_path)
    assert_refused(done, "not safe to load", "system", "evil.pth")
    assert not marker.exists() and sorted(os.listdir(tmp_path)) == ["evil.pth"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("none.pth", "o", "--from", "deit"), "no such checkpoint"),
        (("page.pth", "o", "--from", "deit"), "a web page"),
        (("page.pth", "o", "--from", "diet"), "near: deit"),
        (("s.pth", "o", "--from", "deit", "--preset", "vit_tiny_p16_h12"), "contradicts"),
        (("s.pth", "o", "--from", "deit", "--preset", "vit_tny"), "no encoder preset"),
        (("s.pth", "o", "--from", "timm"), "--preset NAME"),
        (("s.pth", "page.pth", "--from", "deit"), "--force"),
    ],
)
def test_other_bad_input(arguments, says, tmp_path, monkeypatch, capsys):
    (tmp_path / "page.pth").write_text("<html>sign in</html>")
    torch.save(layouts.supervised(), tmp_path / "s.pth")
    with pytest.raises(SystemExit) as stop:
        run_here(monkeypatch, tmp_path, *arguments)
    assert stop.value.code == 2 and says in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "o").exists()


def test_help_is_instant_and_lists_every_converter(tmp_path):
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    for converter in CONVERTERS.values():
        assert converter.name in done.stdout
        assert converter.description in done.stdout
    code = f"import sys, runpy; sys.argv = ['x', '--help']; runpy.run_path({str(TOOL)!r})"
    code += "; assert 'torch' not in sys.modules"
    check = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert check.returncode == 0, check.stderr
    assert os.access(TOOL, os.X_OK)
