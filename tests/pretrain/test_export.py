"""What a pre-training leaves: the file that every downstream config starts from."""

import errno
import resource
import shutil
import subprocess
import sys

import forked
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS
from tiny_run import run, small_config, small_teacher

import lightvit_bench.registry  # noqa: F401
from lightvit_bench.checkpoint import load_encoder, read_extra, read_manifest, sha256
from lightvit_bench.errors import CheckpointError, ConfigError, TrainingError
from lightvit_bench.openmmlab.backbone import ViTBackbone
from lightvit_bench.pretrain.export import ExportEncoder, export_checkpoint, export_model

WITH_TEACHER = "distill=dict(teacher=dict(preset='vit_test', init={teacher!r}), {pairs}),"
seen = []


@HOOKS.register_module(force=True)
class RememberFiles(Hook):
    """What lies in the work dir when a checkpoint is there."""

    priority = "LOWEST"

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        from pathlib import Path

        files = sorted(Path(runner.work_dir).glob("*.safetensors"))
        seen.append([(file.name, read_manifest(file).epochs, sha256(file)) for file in files])


@pytest.fixture(scope="module")
def images(demo_root):
    return demo_root / "images/training"


@pytest.fixture(scope="module")
def finished(tmp_path_factory, images):
    """D-MAE, stopped in the second of its epochs: (runner, config, work dir, teacher, files)."""
    folder = tmp_path_factory.mktemp("export")
    teacher = small_teacher(folder / "big.safetensors")
    config = small_config(
        folder,
        images,
        model=WITH_TEACHER.format(teacher=str(teacher), pairs="attention=[(3, 3)]"),
        more="""
default_hooks["export"] = dict(then="tools/train.py NEXT --cfg-options init={path}")
custom_hooks = [
    dict(type="ReplayableIterations"), dict(type="ImageReport"), dict(type="RememberFiles")
]
""",
    )
    seen.clear()
    runner = run(config, folder / "run", "train_cfg.max_iters=5")
    return runner, config, folder / "run", teacher, list(seen)


def test_manifest_says_what_it_is_and_where_from(finished):
    _, _, folder, teacher, _ = finished
    manifest = read_manifest(folder / "small.safetensors")
    assert (manifest.preset, manifest.heads, manifest.recipe) == ("vit_test", 4, "dmae")
    assert manifest.epochs == 1  # five iterations, three an epoch
    assert [(p.name, p.sha256) for p in manifest.parents] == [("big.safetensors", sha256(teacher))]
    assert manifest.image_mean == (0.485, 0.456, 0.406)
    assert manifest.image_std == (0.229, 0.224, 0.225)
    assert manifest.norm == "final" and manifest.extra == ()


def test_file_is_the_encoder_that_was_trained(finished):
    runner, _, folder, _, _ = finished
    encoder = load_encoder(folder / "small.safetensors")
    trained = runner.model.method.encoder.state_dict()
    assert list(encoder.state_dict()) == list(trained)
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, trained[name]), name
    assert next(runner.model.parameters()).requires_grad  # the run's own model is left alone
    backbone = ViTBackbone("vit_test", init=str(folder / "small.safetensors"), out_blocks=(2,))
    backbone.init_weights()
    assert torch.equal(
        backbone.encoder.blocks[1].attn.qkv.weight, trained["blocks.1.attn.qkv.weight"]
    )


def test_written_at_every_checkpoint_and_only_there(finished):
    files = finished[-1]
    assert files[0] == files[1] == []
    (name, epochs, first), (_, _, kept) = files[2][0], files[3][0]
    assert (name, epochs) == ("small.safetensors", 1)
    assert first == kept
    assert files[4][0][2] != first  # the last iteration has a checkpoint of its own


def test_next_command_is_printed(finished):
    hook = next(hook for hook in finished[0].hooks if isinstance(hook, ExportEncoder))
    command = hook.next_command(finished[0])
    assert command == f"tools/train.py NEXT --cfg-options init={finished[2]}/small.safetensors"


def test_exported_again_from_the_checkpoint_without_the_teacher(finished, tmp_path):
    """The run's own file, byte for byte; a teacher that has gone is not missed."""
    _, config, folder, teacher, _ = finished
    text = config.read_text().replace(str(teacher), str(tmp_path / "gone.safetensors"))
    (tmp_path / "small.py").write_text(text)
    out = tmp_path / "again.safetensors"
    manifest = export_checkpoint(str(tmp_path / "small.py"), folder / "iter_5.pth", out)
    assert manifest.epochs == 1 and manifest.parents[0].sha256 == sha256(teacher)
    assert out.read_bytes() == (folder / "small.safetensors").read_bytes()
    older = export_checkpoint(str(config), folder / "iter_3.pth", tmp_path / "older.safetensors")
    assert older.epochs == 1
    assert sha256(tmp_path / "older.safetensors") != sha256(out)


def test_what_cannot_be_exported_is_refused(finished, repo, tmp_path):
    _, config, folder, _, _ = finished
    out = tmp_path / "out.safetensors"
    checkpoint = folder / "iter_5.pth"
    with pytest.raises(CheckpointError, match="no averaged weights"):
        export_checkpoint(str(config), checkpoint, out, averaged=True)
    with pytest.raises(ConfigError, match="not the config of a pre-training"):
        export_checkpoint(str(repo / "configs/demo/upernet_random_tiny.py"), checkpoint, out)
    with pytest.raises(CheckpointError, match="method.decoder"):
        options = ["model.decoder.width=32"]
        export_checkpoint(str(config), checkpoint, out, cfg_options=options)
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(CheckpointError, match="exists"):
        export_checkpoint(str(config), checkpoint, out)
    assert out.read_text() == "mine"


def test_decoupled_has_no_final_norm_but_keeps_it_aside(tmp_path, images):
    teacher = small_teacher(tmp_path / "big.safetensors")
    model = WITH_TEACHER.format(teacher=str(teacher), pairs="attention=[(4, 3)]")
    config = small_config(tmp_path, images, model=f"decode_after=2, {model}")
    runner = run(config, tmp_path / "run", "train_cfg.max_iters=2")
    file = tmp_path / "run/small.safetensors"
    manifest = read_manifest(file)
    assert (manifest.recipe, manifest.norm, manifest.epochs) == ("d2mae", "none", 0)
    assert manifest.extra == ("norm_depth2",)
    kept = read_extra(file, "norm_depth2")
    assert torch.equal(kept["weight"], runner.model.method.encoder.norm.weight)
    encoder = load_encoder(file)
    assert len(encoder.blocks) == 3  # the fourth is left behind
    assert isinstance(encoder.norm, torch.nn.Identity)


def test_hiera_and_its_fusion_norm(tmp_path):
    model = MODELS.build(
        dict(
            type="Pretraining",
            data_preprocessor=dict(type="PixelNormalizer", mean=[127.5] * 3, std=[51.0] * 3),
            backbone=dict(preset="hiera_test"),
            decoder=dict(width=16, depth=1, heads=2),
            mask_ratio=0.4,
        )
    )
    manifest = export_model(model, tmp_path / "hiera.safetensors", epochs=3)
    assert (manifest.preset, manifest.recipe, manifest.epochs) == ("hiera_test", "mae", 3)
    assert manifest.image_mean == (0.5,) * 3 and manifest.image_std == (0.2,) * 3
    assert "encoder_norm" in manifest.extra
    encoder = load_encoder(tmp_path / "hiera.safetensors")
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, model.method.encoder.state_dict()[name]), name


def test_a_broken_encoder_leaves_the_older_file(finished, tmp_path):
    runner, _, folder, _, _ = finished
    file = tmp_path / "small.safetensors"
    file.write_bytes((folder / "small.safetensors").read_bytes())
    before = file.read_bytes()
    bias = runner.model.method.encoder.blocks[0].attn.qkv.bias
    kept = bias.detach().clone()
    try:
        with torch.no_grad():
            bias.fill_(float("nan"))
        with pytest.raises(CheckpointError, match="NaN"):
            export_model(runner.model, file, epochs=1)
    finally:
        with torch.no_grad():
            bias.copy_(kept)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"]


@HOOKS.register_module(force=True)
class HugeWeights(Hook):
    """Weights that are finite and of no use, after iteration 4 of six; its loss is finite."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if batch_idx + 1 == 4:
            with torch.no_grad():
                for parameter in runner.model.method.encoder.parameters():
                    parameter.fill_(3e38)


def test_an_encoder_that_computes_nan_ends_the_run_as_a_loss_does(tmp_path, images):
    """Iteration, rate, losses and images are named; the checkpoint before is the last good one."""
    config = small_config(
        tmp_path,
        images,
        more="custom_hooks = [dict(type='ReplayableIterations'), dict(type='HugeWeights')]",
    )
    options = [
        "default_hooks.checkpoint.by_epoch=False",
        "default_hooks.checkpoint.interval=2",
        "default_hooks.checkpoint.max_keep_ckpts=1",
    ]
    with pytest.raises(TrainingError, match="computes NaN or infinity after iteration 4") as error:
        run(config, tmp_path / "run", *options)
    text = str(error.value)
    for needle in ("loss_pixels", "learning rate", "a lower learning rate", "all 4 of the batch"):
        assert needle in text
    assert f"last good checkpoint: {tmp_path / 'run/iter_2.pth'}" in text
    assert [path.name for path in (tmp_path / "run").glob("*.pth")] == ["iter_2.pth"]
    assert read_manifest(tmp_path / "run/small.safetensors").epochs == 0


def test_a_run_checkpoint_is_no_encoder_and_says_how_to_get_one(finished, tmp_path):
    """Its name or what it starts does not matter: as a teacher, or to start from."""
    _, config, folder, _, _ = finished
    path = shutil.copy(folder / "iter_5.pth", tmp_path / "renamed.pth")
    for option in (f"teacher={path}", f"init={path}"):
        with pytest.raises(CheckpointError, match=f"export_pretrained.py CONFIG {path} OUT"):
            run(config, tmp_path / "run", option)


def test_a_full_disk_names_the_encoder(tmp_path):
    """safetensors reports it in its own way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError) as error:
            small_teacher(tmp_path / "big.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert error.value.errno == errno.EFBIG
    assert error.value.filename == str(tmp_path / "big.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_tool(finished, repo, tmp_path):
    _, config, folder, _, _ = finished

    def tool(*arguments):
        return forked.run([program, *arguments], cwd=repo)

    program, out = repo / "tools/export_pretrained.py", tmp_path / "out.safetensors"
    command = [sys.executable, program, config, folder / "iter_3.pth", out]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "vit_test, 4 heads, dmae, 1 epochs" in done.stdout
    assert read_manifest(out).recipe == "dmae"
    again = tool(config, folder / "iter_3.pth", out)
    assert again.returncode == 2 and "--force" in again.stderr
    assert "Traceback" not in again.stderr
    assert tool(config, folder / "iter_5.pth", out, "--force").returncode == 0
    assert out.read_bytes() == (folder / "small.safetensors").read_bytes()
