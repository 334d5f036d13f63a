"""A batch in parts is the batch at once: same losses, same step, one exchange of gradients."""

from __future__ import annotations

import gc
import socket
from contextlib import contextmanager
from datetime import timedelta

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from lightvit_bench.errors import ConfigError
from lightvit_bench.openmmlab import device  # noqa: F401  (registers CpuAmpOptimWrapper)
from lightvit_bench.pretrain.step import PretrainDDP, accumulated_step


class Student(nn.Module):
    """Two losses, one of which depends on an order drawn for each image."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.calls = []

    def forward(self, inputs, order, mode):
        assert mode == "loss"
        self.calls.append(len(inputs))
        out = self.layer(inputs)
        taken = out.float().gather(1, order[:, :2])
        return {"loss_pixels": (taken - 1).square().mean(), "loss_attention": 0.1 * out.mean()}

    def step_with(self, wrapped, data, optim_wrapper):
        return accumulated_step(wrapped, self, data, optim_wrapper, 2)


def student() -> Student:
    torch.manual_seed(0)
    return Student()


def batch(images: int = 8) -> dict:
    generator = torch.Generator().manual_seed(1)
    order = torch.rand(images, 6, generator=generator).argsort(dim=1)
    return {"inputs": torch.randn(images, 6, generator=generator), "order": order}


def optimizer(model, kind: str = "OptimWrapper"):
    settings = dict(type="AdamW", lr=0.1, weight_decay=0.05)
    return build_optim_wrapper(model, dict(type=kind, optimizer=settings))


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_parts_give_the_step_of_the_whole(parts):
    whole, cut = student(), student()
    expected = accumulated_step(whole, whole, batch(), optimizer(whole), 1)
    losses = accumulated_step(cut, cut, batch(), optimizer(cut), parts)
    assert cut.calls == [8 // parts] * parts
    assert list(losses) == ["loss_pixels", "loss_attention", "loss"]
    for name, loss in expected.items():
        assert losses[name].shape == () and not losses[name].requires_grad
        torch.testing.assert_close(losses[name], loss)
    total = losses["loss_pixels"] + losses["loss_attention"]
    torch.testing.assert_close(losses["loss"], total)
    for weight, other in zip(whole.parameters(), cut.parameters(), strict=True):
        torch.testing.assert_close(other, weight)
    assert not torch.equal(whole.layer.weight, student().layer.weight)


def test_gradients_do_not_reach_the_next_step():
    model = student()
    accumulated_step(model, model, batch(), optimizer(model), 2)
    assert all(weight.grad is None for weight in model.parameters())


def test_mixed_precision_is_that_of_the_wrapper():
    model = student()
    seen = []
    model.layer.register_forward_hook(lambda *args: seen.append(args[-1].dtype))
    losses = accumulated_step(model, model, batch(), optimizer(model, "CpuAmpOptimWrapper"), 2)
    assert seen == [torch.bfloat16] * 2
    assert losses["loss"].dtype is torch.float32


def test_no_number_is_asked_for(monkeypatch):
    """Each of these would wait for a GPU."""
    model = student()
    wrapper = optimizer(model)

    def refuse(*args, **kwargs):
        raise AssertionError("the step waits for the device")

    with monkeypatch.context() as patch:
        for name in ("item", "tolist", "__float__", "__bool__", "cpu", "numpy"):
            patch.setattr(torch.Tensor, name, refuse)
        patch.setattr(wrapper.optimizer, "step", lambda: None)  # AdamW's CPU path does ask
        accumulated_step(model, model, batch(), wrapper, 2)


@pytest.mark.parametrize("parts", [3, 16, 0])
def test_unequal_parts_are_refused(parts):
    model = student()
    with pytest.raises(ConfigError, match="model.accumulate"):
        accumulated_step(model, model, batch(), optimizer(model), parts)
    assert not model.calls


def test_gradients_are_exchanged_once():
    class Wrapped(nn.Module):
        silent, exchanged = False, ()

        def __init__(self, module):
            super().__init__()
            self.module = module

        @contextmanager
        def no_sync(self):
            self.silent = True
            yield
            self.silent = False

        def forward(self, **data):
            self.exchanged += (not self.silent,)
            return self.module(**data)

    wrapped = Wrapped(student())
    accumulated_step(wrapped, wrapped.module, batch(), optimizer(wrapped), 4)
    assert wrapped.exchanged == (False, False, False, True)


def _rank(rank: int, folder: str, port: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{port}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    model = PretrainDDP(student())
    mine = {name: value[4 * rank : 4 * rank + 4] for name, value in batch().items()}
    model.train_step(mine, optimizer(model))
    torch.save(model.module.state_dict(), f"{folder}/{rank}.pth")
    # Before the group: a reducer that outlives it waits for gloo's thread with Python's lock in
    # hand, and that thread may be waiting for the lock (torch 2.13; seen once, for ever).
    del model
    gc.collect()
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_in_two_parts_give_the_step_of_the_whole(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_rank, (str(tmp_path), port), nprocs=2)
    whole = student()
    accumulated_step(whole, whole, batch(), optimizer(whole), 1)
    for rank in range(2):
        weights = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        for name, weight in whole.state_dict().items():
            torch.testing.assert_close(weights[name], weight)
