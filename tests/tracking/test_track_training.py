"""Training a tracker: what it starts from, what it refuses, how it validates."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_tracking import finish, run, small_config, start, write_all

from lightvit_bench.checkpoint import load_encoder, read_extra, save_encoder
from lightvit_bench.data import sequence as sequence_module
from lightvit_bench.data.sequence import Annotation, Sequence
from lightvit_bench.errors import BadDataError, CheckpointError, ConfigError, MissingDataError
from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.tracking.files import save_tracker
from lightvit_bench.tracking.network import NetworkSpec, OneStreamTracker
from lightvit_bench.tracking.training import bench_pairs
from lightvit_bench.tracking.training.datasets import PairIoU, VideoPairs
from lightvit_bench.tracking.training.model import Tracking
from lightvit_bench.tracking.training.prepare import check_start
from lightvit_bench.vit import VisionTransformer
from lightvit_bench.vit.position import resample_table

NETWORK = dict(template_size=32, search_size=64, head_channels=16, eliminate=(1,))
PIXELS = dict(type="PairNormalizer", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_all(tmp_path_factory.mktemp("tracking"))


@pytest.fixture
def config(data, tmp_path) -> Path:
    return small_config(tmp_path, data)


def encoder_file(path: Path, recipe: str = "mae", preset: str = "vit_test", **more) -> Path:
    """An encoder whose tables and norm are not what they start as."""
    torch.manual_seed(3)
    options = dict(final_norm=more.pop("final_norm", True))
    encoder = VisionTransformer(preset, **options)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "norm" in name or "pos_embed" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    save_encoder(path, encoder, recipe=recipe, **more)
    return path


def started(**backbone) -> Tracking:
    model = Tracking(dict(preset="vit_test", **backbone), NETWORK)
    model.init_weights()
    return model


# ------------------------------------------------------------------------------ what it starts from


@pytest.mark.parametrize("recipe", ["mae", "dmae"])
def test_an_encoder_comes_whole(tmp_path, recipe):
    """All blocks and the final norm; the head stays; positions of 4 x 4 and 2 x 2 patches."""
    file = encoder_file(tmp_path / "encoder.safetensors", recipe)
    encoder, network = load_encoder(file), started(init=str(file)).network
    own, state = network.backbone.state_dict(), encoder.state_dict()
    assert set(state) - set(own) == {"cls_token"}
    for name, tensor in own.items():
        if name != "pos_embed":
            assert torch.equal(tensor, state[name]), name
    assert torch.equal(network.backbone.pos_embed, encoder.pos_embed[:, 1:])  # 64 px: the same grid
    small = resample_table(encoder.pos_embed[:, 1:], (4, 4), (2, 2), cls_token=False)
    assert torch.equal(network.template_positions, small) and small.shape == (1, 4, 32)


def test_d2mae_brings_the_norm_of_depth_8(tmp_path):
    aside = {"weight": torch.rand(32), "bias": torch.rand(32)}
    file = encoder_file(
        tmp_path / "d2.safetensors", "d2mae", final_norm=False, extra={"norm_depth8": aside}
    )
    norm = started(init=str(file), norm="norm_depth8").network.backbone.norm
    assert torch.equal(norm.weight, aside["weight"]) and torch.equal(norm.bias, aside["bias"])
    assert read_extra(file, "norm_depth8").keys() == aside.keys()
    with pytest.raises(CheckpointError, match="no final norm"):
        started(init=str(file))
    with pytest.raises(CheckpointError, match="keeps no 'norm_depth9'"):
        started(init=str(file), norm="norm_depth9")


def test_deit_starts_a_fresh_norm(tmp_path):
    file = encoder_file(tmp_path / "deit.safetensors", "finetuned", final_norm=False)
    model = started(init=str(file), norm="fresh")
    norm = model.network.backbone.norm
    assert (norm.weight == 1).all() and (norm.bias == 0).all()
    block = load_encoder(file).blocks[2].attn.qkv.weight
    assert torch.equal(model.network.backbone.blocks[2].attn.qkv.weight, block)


def test_a_wrong_head_count_is_refused(tmp_path):
    file = encoder_file(tmp_path / "h12.safetensors", preset="vit_tiny_p16_h12")
    model = Tracking(dict(preset="vit_tiny_p16_h3", init=str(file)), dict(head_channels=16))
    with pytest.raises(CheckpointError, match="heads 12 in the file, 3 asked for(?s:.*)garbage"):
        model.init_weights()


@pytest.fixture
def tracker(tmp_path) -> tuple[Path, OneStreamTracker]:
    torch.manual_seed(4)
    network = OneStreamTracker(NetworkSpec("vit_test", **NETWORK))
    path = tmp_path / "tracker.safetensors"
    save_tracker(path, network, recipe="ostrack")
    return path, network


def test_a_trackers_file_comes_whole(tracker):
    """Head included: to train a finished tracker further."""
    path, network = tracker
    state = started(init=str(path)).network.state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    model = Tracking(dict(preset="vit_test", init=str(path)), {**NETWORK, "head": "mlp"})
    with pytest.raises(CheckpointError, match="head.score.0.weight"):
        model.init_weights()


def test_what_cannot_be_started_from(tracker, tmp_path, config):
    """Said before anything is built, with the tool that makes something of it."""

    def refused(init, match, **model):
        preset = model.pop("preset", "vit_test")
        backbone = dict(preset=preset, init=str(init))
        with pytest.raises(CheckpointError, match=f"(?s){match}"):
            check_start(dict(backbone=backbone, data_preprocessor={**PIXELS, **model}))

    path, network = tracker
    check_start(dict(backbone=dict(preset="vit_test", init=str(path)), data_preprocessor=PIXELS))
    refused(path, "is a vit_test, not a vit_tiny_p16_h12", preset="vit_tiny_p16_h12")
    refused(path, "pixels of another mean", mean=[127.5] * 3)
    encoder = encoder_file(tmp_path / "encoder.safetensors")
    refused(encoder, "pixels of another std", std=[127.5] * 3)
    refused(tmp_path / "absent.safetensors", "not there.*absent.*init=random")
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(path.read_bytes()[:200])
    refused(torn, "torn")

    names = {
        "backbone.patch_embed.proj.weight": torch.zeros(192, 3, 16, 16),
        "backbone.pos_embed_z": torch.zeros(1, 64, 192),
        "backbone.pos_embed_x": torch.zeros(1, 256, 192),
    }
    torch.save({"net": names}, tmp_path / "OSTrack_ep0300.pth.tar")
    refused(tmp_path / "OSTrack_ep0300.pth.tar", "convert_checkpoint.py .* --from ostrack.*init=")
    run(config, tmp_path / "run", "train_cfg.max_iters=1")
    refused(tmp_path / "run/iter_1.pth", "load_from=.*tools/export_tracker.py")


def test_the_second_part_starts_from_the_first(data, tmp_path):
    """load_from a network that prunes nothing: the same weights, all of them."""
    tiny = dict(root=data, network="", model="")
    first = small_config(tmp_path, base="mast_dense_dmae_tiny", name="dense.py", **tiny)
    second = small_config(tmp_path, base="mast_dmae_tiny", name="prune.py", **tiny)
    run(first, tmp_path / "dense", "train_cfg.max_iters=2")
    trained = torch.load(tmp_path / "dense/iter_2.pth", weights_only=False)["state_dict"]
    assert any(name.startswith("network.head.score") for name in trained)

    options = ["train_cfg.max_iters=1", "optim_wrapper.optimizer.lr=0.0", "init=not_needed"]
    file = f"load_from={tmp_path / 'dense/iter_2.pth'}"
    model = run(second, tmp_path / "prune", *options, file).model
    assert model.network.spec.prune_after == 1 and model.network.spec.keep == 0.3
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, trained[name]), name

    other = small_config(tmp_path, data, name="conv.py")
    with pytest.raises(CheckpointError, match="(?s)missing.*network.head.*unexpected.*head.box"):
        run(other, tmp_path / "other", file)


# -------------------------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    "option, error, match",
    [
        ("data_root=absent", MissingDataError, "LaSOT.*not found.*absent.*data_root.*datasets.md#"),
        ("train_dataloader.dataset.sets.0.ratio=-1", ConfigError, "sets.0.ratio"),
        ("train_dataloader.dataset.sets.0.ratio=nan", ConfigError, "sets.0.ratio"),
        ("train_dataloader.dataset.sets.1.ratio=half", ConfigError, "sets.1.ratio"),
        ("train_dataloader.dataset.sets=[]", ConfigError, "no data set to draw pairs from"),
        ("train_dataloader.dataset.sets.0.split=trian", ConfigError, "LaSOT has no split 'trian'"),
        ("train_dataloader.dataset.sets.0.name=lasso", ConfigError, "no tracking data.*lasot"),
        ("train_dataloader.dataset.sets.0.chunks=3", ConfigError, "LaSOT has no option 'chunks'"),
        ("train_dataloader.dataset.gapp=3", ConfigError, "gapp"),
        ("train_dataloader.dataset.gap=1", ConfigError, "gap of 1"),
        ("teacher=x.safetensors", ConfigError, "has no model.distill"),
        ("skip_corrupt=True", ConfigError, "skip_corrupt is not for.*unreadable"),
        ("init=absent.safetensors", CheckpointError, "absent.safetensors.*init=random"),
        ("load_from=absent.pth", CheckpointError, "absent.pth"),
        ("model.network.eliminate=(1,3)", ConfigError, "blocks 0 to 2.*eliminate=.1, 3"),
        ("model.network.eliminate=(-1,)", ConfigError, "blocks 0 to 2"),
        ("model.network.keep=0", ConfigError, "share of tokens"),
        ("model.network.head=convv", ConfigError, "no head 'convv'"),
        ("model.network.heads=3", ConfigError, "heads"),
        ("model.backbone.img_size=64", ConfigError, "knows no img_size"),
        ("model.box_of=both", ConfigError, "box_of='both'"),
        ("train_dataloader.batch_size=9", ConfigError, "8 pairs is less than a batch of 9"),
    ],
)
def test_refused_at_start_up(config, tmp_path, option, error, match, monkeypatch):
    """Before the first iteration."""
    steps = []
    monkeypatch.setattr(Tracking, "train_step", lambda *a, **k: steps.append(1))
    with pytest.raises(error, match=f"(?s){match}"):
        run(config, tmp_path / "run", "train_dataloader.num_workers=0", option)
    assert not steps


def test_a_set_of_ratio_0_need_not_be_there(data):
    one, other = dict(name="lasot", split="train"), dict(name="got10k", root="gone", ratio=0)
    pairs = VideoPairs([one, other], 10, data_root=str(data))
    assert len(pairs) == 10 and len(pairs.pairs.sampler.sets) == 1
    with pytest.raises(ConfigError, match="ratio above 0"):
        VideoPairs([other], 10, data_root=str(data))


def test_annotations_are_read_at_start_up(data, tmp_path):
    """All of a small set; of a large one so many, and then what is met later is told then."""
    root = tmp_path / "data"
    shutil.copytree(data / "lasot", root / "lasot")
    broken = root / "lasot/cat/cat-4/groundtruth.txt"  # the second of three
    broken.write_text(broken.read_text() + "1,2,3\n")
    one = dict(name="lasot", split="train")
    with pytest.raises(BadDataError, match="(?s)cat-4/groundtruth.txt.*25"):
        VideoPairs([one], 10, data_root=str(root))
    VideoPairs([one], 10, data_root=str(root), check=2)  # the first and the last
    (root / "lasot/dog/dog-2/img/00000001.jpg").write_bytes(b"no picture")
    with pytest.raises(BadDataError, match="dog-2/img/00000001.jpg"):
        VideoPairs([one], 10, data_root=str(root), check=2)


@pytest.mark.slow
def test_as_a_person_meets_it(config, tmp_path):
    """Code 2, no traceback."""
    out = finish(start(config, tmp_path / "run", "--cfg-options", "data_root=absent"), code=2)
    assert "MissingDataError: LaSOT" in out and "Traceback" not in out
    out = finish(start(config, tmp_path / "run", "--resume"), code=2)
    assert "nothing to resume" in out and "Traceback" not in out


# ------------------------------------------------------------------------------------ how it trains


def test_samples_per_epoch_makes_the_run_longer(config, tmp_path):
    """Epochs, not iterations, are what a config says: here 4 of 8 pairs in batches of 4."""
    sixteen = ["train_dataloader.dataset.samples_per_epoch=16", "train_cfg.max_epochs=2"]
    runner = run(config, tmp_path / "run", *sixteen)
    assert runner.iter == 8
    assert (tmp_path / "run/iter_8.pth").is_file()
    meta = torch.load(tmp_path / "run/iter_8.pth", weights_only=False)["meta"]
    assert (meta["iter"], meta["epoch_length"]) == (8, 4)


def test_the_keep_rate_follows_the_schedule(config, tmp_path, monkeypatch):
    kept = []
    step = Tracking.train_step
    monkeypatch.setattr(
        Tracking, "train_step", lambda self, *a, **k: kept.append(self.keep) or step(self, *a, **k)
    )
    run(config, tmp_path / "run")
    assert kept == pytest.approx([1, 1, 1, 1, 0.75, 0.75, 0.5, 0.5])  # two iterations an epoch


def test_the_share_is_the_schedules_in_training_alone(monkeypatch):
    model, given = started(), []
    forward = OneStreamTracker.forward
    monkeypatch.setattr(
        OneStreamTracker, "forward", lambda *a, keep: given.append(keep) or forward(*a, keep=keep)
    )
    model.keep = 0.9
    pair = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 64, 64)
    model.train()(*pair)
    model.eval()(*pair)
    assert given == [0.9, None]  # None: the network's own


def test_mixed_precision(config, tmp_path, monkeypatch):
    """--amp: the head computes in bfloat16 on a CPU; maps and losses stay float32."""
    from lightvit_bench.tracking.training import model as model_module

    monkeypatch.setattr("lightvit_bench.openmmlab.device.cpu_computes_bfloat16", lambda: True)
    seen, losses = [], model_module.tracking_losses

    def watched(maps, *arguments, **options):
        seen.append({maps.score.dtype, maps.size.dtype, maps.offset.dtype})
        return losses(maps, *arguments, **options)

    monkeypatch.setattr(model_module, "tracking_losses", watched)
    types = set()
    torch.nn.modules.module.register_module_forward_hook(
        lambda module, _, out: types.add(out.dtype) if isinstance(module, torch.nn.Conv2d) else None
    )
    try:
        runner = run(config, tmp_path / "run", "train_cfg.max_iters=3", amp=True)
    finally:
        torch.nn.modules.module._global_forward_hooks.clear()
    assert type(runner.optim_wrapper).__name__ == "CpuAmpOptimWrapper"
    assert torch.bfloat16 in types and seen and all(s == {torch.float32} for s in seen)
    assert all(p.isfinite().all() and p.dtype is torch.float32 for p in runner.model.parameters())


def test_validation_is_the_same_each_time(config, data, tmp_path):
    """Held-out pairs do not change from one validation to the next, nor with the workers."""
    none = ["optim_wrapper.optimizer.lr=0.0", "train_cfg.max_epochs=1",
            "train_cfg.val_interval=1"]  # fmt: skip
    found = []
    for name, workers in (("one", 0), ("two", 2)):
        more = [f"val_dataloader.num_workers={workers}"]
        runner = run(config, tmp_path / name, *none, *more)
        hub = runner.message_hub.log_scalars
        found.append({k: v.current() for k, v in hub.items() if k.startswith("val/")})
    assert found[0]["val/IoU"] == found[1]["val/IoU"] > 0
    assert found[0]["val/score"] == found[1]["val/score"]
    assert "val/score_absent" not in found[0]
    held = VideoPairs(
        [dict(name="got10k", split="val")], 4, data_root=str(data), augment=False,
    )  # fmt: skip
    once, again = held[2], held[2]
    assert all(np.array_equal(once[name], again[name]) for name in once)
    assert not np.array_equal(held[1]["search"], once["search"])


def test_pairs_without_the_target_are_told_apart():
    metric = PairIoU()
    rows = [dict(iou=0.5, score=0.9, present=True), dict(iou=0.7, score=0.7, present=True),
            dict(iou=0.4, score=0.1, present=False)]  # fmt: skip
    found = metric.compute_metrics(rows)
    assert found == pytest.approx({"IoU": 60.0, "score": 0.8, "score_absent": 0.1})
    assert set(metric.compute_metrics(rows[:2])) == {"IoU", "score"}
    assert metric.compute_metrics(rows[2:]) == {"score_absent": 0.1}


def test_results_say_whether_the_target_is_there():
    model = started().eval()
    pair = dict(template=torch.rand(2, 3, 32, 32), search=torch.rand(2, 3, 64, 64))
    box = torch.tensor([[0.5, 0.5, 0.3, 0.3], [0.0, 0.0, 0.0, 0.0]])
    rows = model(**pair, box=box, present=torch.tensor([True, False]), mode="predict")
    assert [row["present"] for row in rows] == [True, False]
    assert rows[1]["iou"] == 0 and 0 < rows[0]["score"] < 1
    with torch.no_grad():
        told = model(**pair, mode="tensor")
    assert rows[0]["score"] == pytest.approx(told.score[0].max().item())


# -------------------------------------------------------------------------------- what workers keep


def test_annotations_kept_are_bounded(monkeypatch):
    """Each worker would hold all of TrackingNet otherwise."""
    monkeypatch.setattr(sequence_module, "_MOST_ROWS", 100)
    monkeypatch.setattr(sequence_module, "_kept", sequence_module._Kept())
    reads = []

    def load(name, rows):
        reads.append(name)
        return Annotation(np.full((rows, 4), 7.0), np.ones(rows, bool), np.full(rows, np.nan))

    def made(name, rows):
        return Sequence("set", name, [None] * rows, lambda: load(name, rows))

    a, b, c, huge = made("a", 40), made("b", 50), made("c", 30), made("huge", 500)
    for one in (a, b, a, b, a):
        assert one.annotation is one.annotation
    assert reads == ["a", "b"]
    assert len(c.annotation.boxes_xywh) == 30  # a goes
    assert (b.annotation, reads[2:]) == (b.annotation, ["c"])
    assert len(a.annotation.boxes_xywh) == 40 and reads[3:] == ["a"]  # and b
    assert huge.annotation is huge.annotation
    assert reads[4:] == ["huge"], "the last one stays, whatever its length"
    assert sequence_module._kept.rows == 500
    assert len(b.annotation.visible) == 50
    assert sequence_module._kept.rows == 50


def test_bench_counts_the_pairs_of_a_config(config, repo, monkeypatch):
    monkeypatch.chdir(repo)
    cfg, pairs = bench_pairs.open_pairs(str(config), ["log_level=ERROR"])
    asked, item = [], type(pairs).__getitem__
    monkeypatch.setattr(
        type(pairs), "__getitem__", lambda self, draw: asked.append(draw) or item(self, draw)
    )
    alone = bench_pairs.loader_rate(cfg, pairs, workers=0, count=10)
    assert len(asked) == 4 + 12  # a batch before, then three
    both = bench_pairs.training_rate(cfg, pairs, workers=0, steps=2)
    assert len(asked) == 16 + 4 * (3 + 2)
    assert alone.of_each == alone.pairs_per_second > 0
    assert 0 < both.waiting < 1 and both.pairs_per_second > 0
    assert bench_pairs.LoaderRate(4, 100.0).of_each == 25
    with pytest.raises(ConfigError, match="not the config of a tracker"):
        bench_pairs.open_pairs("configs/ade20k/fpn_random_tiny.py")


def test_the_loader_is_forked(config):
    """Pairs of stills are decoded once, before the workers are made."""
    assert load_config(config).env_cfg.mp_cfg.mp_start_method == "fork"
