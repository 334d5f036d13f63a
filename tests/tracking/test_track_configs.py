"""The configs of trackers: the authors' numbers, lengths in epochs, and a step of each."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, init_default_scope
from tiny_tracking import run, write_all

from lightvit_bench.errors import ConfigError
from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.openmmlab.model import build_model
from lightvit_bench.tracking.training import augment, losses
from lightvit_bench.tracking.training.prepare import settle_epochs
from lightvit_bench.tracking.training.schedule import KeepSchedule

ROOT = Path(__file__).resolve().parents[2]
LASOT = sorted(path.stem for path in (ROOT / "configs/lasot").glob("*.py"))
STILLS = sorted(path.stem for path in (ROOT / "configs/stills").glob("*.py"))
AUTHORS = "ostrack_dmae_tiny"


def config(name: str, *options: str):
    folder = "stills" if name in STILLS else "lasot"
    return load_config(ROOT / f"configs/{folder}/{name}.py", options)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_all(tmp_path_factory.mktemp("tracking"))


@pytest.mark.slow
@pytest.mark.parametrize("name", LASOT + STILLS)
def test_one_training_and_one_validation_step(name, data, tmp_path, monkeypatch):
    """Everything as configured but the start, the data, the batch and the length."""
    monkeypatch.chdir(ROOT)
    options = [
        "init=random", f"data_root={data}", "train_dataloader.batch_size=2",
        "train_cfg.max_iters=1",
        "default_hooks.logger.interval=1",
    ]  # fmt: skip
    if name in LASOT:
        options += [
            "val_dataloader.dataset.samples_per_epoch=3",
            "val_dataloader.num_workers=0",
            "val_dataloader.batch_size=2",
        ]
    else:
        options += ["train_cfg.val_interval=5"]
    folder = "stills" if name in STILLS else "lasot"
    runner = run(ROOT / f"configs/{folder}/{name}.py", tmp_path, *options)
    cfg, optimizer = config(name), runner.optim_wrapper.optimizer

    # every parameter has had a gradient: nothing is unused under DDP
    parameters = dict(runner.model.named_parameters())
    assert [n for n, p in parameters.items() if p not in optimizer.state] == []
    assert all(p.isfinite().all() for p in parameters.values())
    rates = {group["lr"] for group in optimizer.param_groups}
    if name in LASOT:
        scaled = cfg.optim_wrapper.optimizer.lr * 2 / 128  # two pairs an iteration, not 128
        assert sorted(rates) == pytest.approx([scaled / 10, scaled])
    told = {name: buffer.current() for name, buffer in runner.message_hub.log_scalars.items()}
    parts = [told[f"train/loss_{part}"] for part in ("focal", "giou", "l1")]
    assert math.isfinite(told["train/loss"])
    assert told["train/loss"] == pytest.approx(sum(parts), rel=1e-3)
    assert ("val/IoU" in told) == (name in LASOT)


def test_the_authors_recipe():
    """facts of MAE-Lite's LaSOT training, one by one."""
    cfg = config(AUTHORS)
    network, backbone, optim = cfg.model.network, cfg.model.backbone, cfg.optim_wrapper
    assert (backbone.preset, backbone.drop_path) == ("vit_tiny_p16_h12", 0.1)
    assert (network.template_size, network.template_factor) == (128, 2.0)
    assert (network.search_size, network.search_factor) == (256, 4.0)
    assert (network.head, network.head_channels) == ("conv", 256)
    assert (tuple(network.eliminate), network.keep) == ((3, 6, 9), 0.7)
    assert losses.WEIGHTS == dict(focal=1.0, giou=2.0, l1=5.0)
    assert cfg.model.box_of == "prediction"

    assert optim.type == "OptimWrapper"  # no mixed precision
    assert optim.optimizer == dict(type="AdamW", lr=4e-4, betas=(0.9, 0.999), weight_decay=1e-4)
    assert optim.clip_grad == dict(max_norm=0.1)
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=128)

    train, val = cfg.train_dataloader, cfg.val_dataloader
    assert train.batch_size == 32 and train.dataset.samples_per_epoch == 60000
    assert {s.name: (s.split, s.ratio) for s in train.dataset.sets} == {
        "lasot": ("train", 1), "got10k": ("train", 1), "coco": ("train", 1),
        "trackingnet": ("train", 1),
    }  # fmt: skip
    for dataset in (train.dataset, val.dataset):
        assert dataset.gap == 200
        assert (dataset.centre_jitter, dataset.scale_jitter) == (3.0, 0.25)
        for part in ("template", "search"):
            assert dataset[f"{part}_size"] == network[f"{part}_size"]
            assert dataset[f"{part}_factor"] == network[f"{part}_factor"]
    assert train.dataset.get("augment", True) and val.dataset.augment is False
    assert (augment.GREY, augment.FLIP, augment.BRIGHTNESS) == (0.05, 0.5, 0.2)
    assert [(s.name, s.split) for s in val.dataset.sets] == [("got10k", "val")]


def test_rates_and_decay_of_every_parameter():
    """What the authors name `backbone`, both position tables included, gets a tenth."""
    cfg = config(AUTHORS)
    model = build_model(cfg)
    init_default_scope("mmseg")
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    of = {id(g["params"][0]): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups}
    rates = {name: of[id(p)] for name, p in model.named_parameters()}
    heads = [name for name in rates if name.startswith("network.head.")]
    assert len(heads) == 54 and len(rates) == 54 + 12 * 12 + 6
    for name, (rate, decay) in rates.items():
        assert rate == pytest.approx(4e-4 if name in heads else 4e-5), name
        assert decay == 1e-4, name


def test_the_authors_lengths():
    """300 epochs of 468 iterations; the drop behind 240; all tokens to epoch 20, counted from 1."""
    cfg = config(AUTHORS)
    stated = cfg.custom_hooks[1].epoch_length
    assert settle_epochs(cfg, ranks=4) == 468 == stated
    assert cfg.train_cfg == dict(type="IterBasedTrainLoop", max_iters=140400, val_interval=20 * 468)
    assert cfg.default_hooks.checkpoint.interval == 10 * 468
    assert cfg.default_hooks.checkpoint.by_epoch is False
    assert cfg.custom_hooks[1] == dict(type="KeepRate", epoch_length=468)
    assert rates_at(cfg, [240 * 468 - 1, 240 * 468, 140399]) == pytest.approx([1, 0.1, 0.1])

    model = build_model(cfg)
    hook = HOOKS.build(cfg.custom_hooks[1])

    class Runner:
        pass

    runner = Runner()
    runner.model, shares = model, []
    for epoch in (1, 20, 21, 60, 99, 100, 300):  # as the authors count
        runner.iter = (epoch - 1) * 468 + 467
        hook.before_train_iter(runner, runner.iter)
        shares.append(model.keep)
    assert shares == [
        1.0, 1.0, pytest.approx(0.7 + 0.15 * (math.cos(math.pi / 80) + 1)), pytest.approx(0.85),
        pytest.approx(0.7 + 0.15 * (math.cos(math.pi * 79 / 80) + 1)), 0.7, 0.7,
    ]  # fmt: skip
    assert shares[2] < 1 and shares[4] > 0.7


def rates_at(cfg, iterations: list[int]) -> list[float]:
    """The share of the first rate during these iterations, as mmengine schedules it."""
    from mmengine.registry import PARAM_SCHEDULERS

    init_default_scope("mmseg")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    [one] = cfg.param_scheduler
    scheduler = PARAM_SCHEDULERS.build(
        dict(one), default_args=dict(optimizer=optimizer, epoch_length=1)
    )
    found = []
    for iteration in range(max(iterations) + 1):
        if iteration in iterations:
            found.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    return found


@pytest.mark.parametrize("name", [n for n in LASOT if not n.startswith("mast")])
def test_variants_differ_in_one_thing(name):
    """`ostrack_START_tiny.py` starts from another file; two differ in what their name says."""
    start = name.split("_")[1]
    ours, base = config(name).to_dict(), config(AUTHORS).to_dict()
    mine, theirs = ours["model"].pop("backbone"), base["model"].pop("backbone")
    if start == "dense":
        assert ours["model"]["network"].pop("eliminate") == ()
        assert ours["model"].pop("keep_schedule") is None
        del base["model"]["network"]["eliminate"], base["model"]["keep_schedule"]
        start = "dmae"
    if name.endswith("h3"):
        assert mine.pop("preset") == "vit_tiny_p16_h3"
        assert mine.pop("init") == "checkpoints/deit_tiny_h3.safetensors"
        del theirs["preset"]
        assert mine.pop("norm") == "file"
    else:
        wanted = "random" if start == "random" else f"checkpoints/{start}_tiny.safetensors"
        assert mine.pop("init") == wanted
        norms = {"d2mae": "norm_depth8", "deit": "fresh"}
        assert mine.pop("norm", "file") == norms.get(start, "file")
    theirs.pop("init")
    assert mine == theirs
    assert ours == base


def test_mast_is_in_two_parts():
    """All tokens first; then 77 of 256 (0.3) behind the first block, annealed in 10 of 50."""
    first, second = config("mast_dense_dmae_tiny"), config("mast_dmae_tiny")
    assert first.model.network.head == second.model.network.head == "mlp"
    assert first.model.network.eliminate == second.model.network.eliminate == ()
    assert "prune_after" not in first.model.network and first.model.keep_schedule is None
    assert (second.model.network.prune_after, second.model.network.keep) == (1, 0.3)
    share = KeepSchedule(**second.model.keep_schedule)
    assert [share(e, 0.3) for e in (0, 5, 10, 49)] == pytest.approx([1, 0.65, 0.3, 0.3])
    assert settle_epochs(first, 4) == settle_epochs(second, 4) == 468
    assert (first.train_cfg.max_iters, second.train_cfg.max_iters) == (140400, 50 * 468)
    assert second.optim_wrapper.optimizer.lr == 4e-5
    assert rates_at(second, [40 * 468 - 1, 40 * 468]) == pytest.approx([1, 0.1])


@pytest.mark.parametrize(
    "options, ranks, epoch",
    [
        ([], 1, 1875),  # one GPU, 32 pairs an iteration: as many pairs
        (["train_dataloader.batch_size=128"], 1, 468),
        (["train_dataloader.dataset.samples_per_epoch=6000"], 2, 93),
    ],
)
def test_an_epoch_is_so_many_pairs(options, ranks, epoch):
    cfg = config(AUTHORS, *options)
    assert settle_epochs(cfg, ranks) == epoch
    assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval) == (300 * epoch, 20 * epoch)
    assert cfg.default_hooks.checkpoint.interval == 10 * epoch
    assert cfg.custom_hooks[1].epoch_length == epoch
    assert cfg.param_scheduler[0].epoch_length == epoch


def test_a_run_may_be_cut_short():
    cfg = config(AUTHORS, "train_cfg.max_iters=100", "train_cfg.max_epochs=2")
    settle_epochs(cfg, 4)
    assert cfg.train_cfg.max_iters == 100 and cfg.param_scheduler[0].end == 2
    cfg = config(AUTHORS, "train_cfg.max_iters=5000", "train_cfg.max_epochs=2")
    settle_epochs(cfg, 4)
    assert cfg.train_cfg.max_iters == 936


@pytest.mark.parametrize(
    "option, message",
    [
        ("train_dataloader.dataset.samples_per_epoch=100", "100 pairs is less than a batch of 128"),
        ("train_dataloader.dataset.samples_per_epoch=0", "samples_per_epoch=0(?s:.*)above 0"),
        ("train_dataloader.dataset.samples_per_epoch=1e4", "samples_per_epoch=10000.0"),
        ("train_dataloader.batch_size=0", "batch_size=0"),
        ("train_cfg.max_epochs=-1", "max_epochs=-1"),
        ("train_cfg.val_interval=0", "val_interval=0"),
        ("default_hooks.checkpoint.interval=0.5", "checkpoint.interval=0.5"),
        ("train_cfg.max_iters=0", "max_iters=0"),
    ],
)
def test_lengths_that_are_none(option, message):
    with pytest.raises(ConfigError, match=message):
        settle_epochs(config(AUTHORS, option), 4)


def test_stills_are_as_the_shipped_weights_were_trained():
    """In iterations: two runs of 4,000 and 2,000, on nothing but still photographs."""
    near, whole = config("ostrack_near_tiny"), config("ostrack_tiny")
    for cfg, iterations in ((near, 4000), (whole, 2000)):
        before = cfg.to_dict()
        assert settle_epochs(cfg, 1) is None and cfg.to_dict() == before
        assert cfg.train_cfg.max_iters == iterations
        assert cfg.train_dataloader.batch_size == 32
        assert cfg.train_dataloader.dataset.type == "StillPairs"
        assert cfg.model.box_of == "truth" and cfg.model.backbone.drop_path == 0.0
        assert cfg.model.backbone.attention == "mimetic" and cfg.model.backbone.init == "random"
        assert "auto_scale_lr" not in cfg
        optimizer = cfg.optim_wrapper.optimizer
        assert (optimizer.betas, optimizer.weight_decay) == ((0.9, 0.98), 0.05)
        assert cfg.optim_wrapper.paramwise_cfg == dict(norm_decay_mult=0.0, bias_decay_mult=0.0)
        assert cfg.optim_wrapper.clip_grad.max_norm == 1.0
        assert cfg.optim_wrapper.type == "AmpOptimWrapper"
    assert (near.optim_wrapper.optimizer.lr, whole.optim_wrapper.optimizer.lr) == (8e-4, 5e-4)
    dataset = near.train_dataloader.dataset
    assert (dataset.search_size, dataset.search_factor) == (128, 2.0)
    dataset = whole.train_dataloader.dataset
    assert (dataset.search_size, dataset.search_factor) == (256, 4.0)
    assert near.custom_hooks[1].epoch_length == 4000  # begin=1: never reached
    assert near.model.keep_schedule.begin == 1
    assert whole.custom_hooks[1].epoch_length == 100
    assert whole.model.keep_schedule == dict(begin=6, end=12)
    [warmup, cosine] = whole.param_scheduler
    assert (warmup.end, cosine.end, cosine.eta_min) == (50, 2000, 5e-6)
