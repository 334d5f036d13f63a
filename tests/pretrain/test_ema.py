"""The moving average of the weights: what it averages, how it resumes, where it goes."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from tiny_run import DISTILLED, run, small_config

from lightvit_bench.checkpoint import load_encoder
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.openmmlab.checkpoints import read_run_checkpoint
from lightvit_bench.pretrain.ema import WeightAverage, find_average

DECAY = 0.3
AVERAGE = f"""
custom_hooks = [
    dict(type="ReplayableIterations"),
    dict(type="ImageReport"),
    dict(type="WeightAverage", decay={DECAY}),
    dict(type="RememberWeights"),
]
"""
remembered = []


@HOOKS.register_module(force=True)
class RememberWeights(Hook):
    def before_train(self, runner):
        remembered[:] = [self.copy(runner)]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        remembered.append(self.copy(runner))

    @staticmethod
    def copy(runner):
        return {name: p.detach().double() for name, p in runner.model.named_parameters()}


@pytest.fixture(scope="module")
def images(demo_root):
    return demo_root / "images/training"


@pytest.fixture(scope="module")
def finished(tmp_path_factory, images):
    """A run of six iterations: (runner, its config, its folder, weights before and after each)."""
    folder = tmp_path_factory.mktemp("ema")
    config = small_config(folder, images, model=DISTILLED, more=AVERAGE)
    runner = run(config, folder / "whole")
    return runner, config, folder / "whole", list(remembered)


def test_it_is_the_average_of_what_was_trained(finished):
    runner, _, _, weights = finished
    average = find_average(runner).average
    trained = {name for name, p in runner.model.named_parameters() if p.requires_grad}
    assert set(average) == trained  # neither positions nor anything of the teacher
    assert len(weights) == 7
    for name in trained:
        expected = weights[0][name]
        for step in range(1, 7):
            decay = min(DECAY, (1 + step) / (10 + step))
            expected = decay * expected + (1 - decay) * weights[step][name]
        torch.testing.assert_close(average[name].double(), expected, rtol=1e-5, atol=1e-6)
    moved = [
        name for name in trained if not torch.allclose(average[name].double(), weights[6][name])
    ]
    assert len(moved) > len(trained) / 2


def test_the_run_is_that_without_an_average(finished, images, tmp_path):
    plain = run(small_config(tmp_path, images, model=DISTILLED), tmp_path / "plain")
    for name, value in finished[0].model.state_dict().items():
        assert torch.equal(value, plain.model.state_dict()[name]), name
    saved = read_run_checkpoint(finished[2] / "iter_6.pth")["state_dict"]
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, saved[name]), name


def test_resumed_bit_for_bit(finished, tmp_path):
    _, config, whole, _ = finished
    run(config, tmp_path, "train_cfg.max_iters=4")
    run(config, tmp_path, resume=True)
    once, twice = (read_run_checkpoint(folder / "iter_6.pth") for folder in (whole, tmp_path))
    for kept in ("weight_average", "state_dict"):
        assert list(once[kept]) == list(twice[kept])
        for name, value in once[kept].items():
            assert torch.equal(value, twice[kept][name]), name
    before = read_run_checkpoint(tmp_path / "iter_4.pth")["weight_average"]
    assert not torch.equal(
        before["method.encoder.cls_token"], once["weight_average"]["method.encoder.cls_token"]
    )


def test_two_files_each_with_its_weights(finished):
    runner, _, folder, _ = finished
    average = find_average(runner).average
    own = load_encoder(folder / "small.safetensors").state_dict()
    averaged = load_encoder(folder / "small_ema.safetensors").state_dict()
    state = runner.model.state_dict()
    for name in own:
        assert torch.equal(own[name], state[f"method.encoder.{name}"]), name
        wanted = average.get(f"method.encoder.{name}", own[name])  # positions are not trained
        assert torch.equal(averaged[name], wanted), name
    name = "blocks.0.attn.qkv.weight"
    assert not torch.equal(own[name], averaged[name])


def test_a_run_without_average_is_not_resumed_with_one(finished, images, tmp_path):
    run(small_config(tmp_path, images, model=DISTILLED), tmp_path, "train_cfg.max_iters=3")
    with pytest.raises(CheckpointError, match="no average"):
        run(finished[1], tmp_path, resume=True)


@pytest.mark.parametrize("decay", [0, 1, 1.5])
def test_a_decay_that_averages_nothing_is_refused(decay):
    with pytest.raises(ConfigError, match="decay"):
        WeightAverage(decay=decay)
