"""The learning rate by iteration, as MAE-Lite's code has it, also behind a resume."""

import math

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from lightvit_bench.errors import ConfigError
from lightvit_bench.pretrain.schedule import warmup_cosine

CONFIG = dict(type="WarmupCosineLR", warmup=2, by_epoch=True, convert_to_iter_based=True)


def build(lr: float = 1.0, *, epochs: int = 10, length: int = 5, **changes):
    """Optimizer wrapper with two groups, and its scheduler as mmengine's runner builds it."""
    model = nn.Linear(2, 2)
    wrapper = build_optim_wrapper(model, dict(optimizer=dict(type="AdamW", lr=lr)))
    wrapper.optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": lr / 2})
    scheduler = PARAM_SCHEDULERS.build(
        {"end": epochs, **CONFIG, **changes},
        default_args=dict(optimizer=wrapper, epoch_length=length),
    )
    return wrapper, scheduler


def rates(wrapper, scheduler, count: int) -> list[float]:
    """The rates of the next `count` iterations."""
    found = []
    for _ in range(count):
        found.append(wrapper.optimizer.param_groups[0]["lr"])
        wrapper.step()
        scheduler.step()
    return found


def test_the_authors_run():
    """400 epochs of 312 iterations, 40 of warm-up, 2.4e-3."""
    warmup, total = 40 * 312, 400 * 312
    assert warmup_cosine(0, warmup, total) == 0
    assert 2.4e-3 * warmup_cosine(312, warmup, total) == pytest.approx(2.4e-3 / 40)
    assert warmup_cosine(warmup, warmup, total) == 1
    assert warmup_cosine((warmup + total) // 2, warmup, total) == pytest.approx(0.5)
    expected = 0.5 * (1 + math.cos(math.pi * (total - 1 - warmup) / (total - warmup)))
    assert warmup_cosine(total - 1, warmup, total) == pytest.approx(expected)
    assert warmup_cosine(total, warmup, total) == 0


def test_every_iteration_has_its_rate():
    found = rates(*build(lr=3.0), 50)
    expected = [i / 10 for i in range(10)]
    expected += [0.5 * (1 + math.cos(math.pi * i / 40)) for i in range(40)]
    assert found == pytest.approx([3.0 * share for share in expected])


def test_groups_keep_their_proportion():
    wrapper, scheduler = build()
    rates(wrapper, scheduler, 17)
    first, second = (group["lr"] for group in wrapper.optimizer.param_groups)
    assert second == pytest.approx(first / 2) and first > 0


def test_warm_up_in_fractions_of_an_epoch():
    assert rates(*build(warmup=0.4), 3) == pytest.approx([0, 0.5, 1.0])
    assert rates(*build(warmup=0), 1) == [1.0]


def test_resumed_schedule_goes_on_exactly():
    wrapper, scheduler = build()
    rates(wrapper, scheduler, 23)
    saved = wrapper.state_dict(), scheduler.state_dict()
    expected = rates(wrapper, scheduler, 27)
    resumed, other = build()
    resumed.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    assert rates(resumed, other, 27) == expected


def test_warm_up_longer_than_the_run_names_both_knobs():
    with pytest.raises(ConfigError, match="param_scheduler.0.warmup(?s:.*)train_cfg.max_epochs"):
        build(warmup=11)
    build(warmup=10)  # all of it is warm-up


def test_by_epoch_is_refused():
    with pytest.raises(ConfigError, match="convert_to_iter_based"):
        build(convert_to_iter_based=False)
