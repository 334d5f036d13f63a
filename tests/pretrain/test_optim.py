"""Weight decay where the authors apply it, or by the cleaner rule."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

import lightvit_bench.registry  # noqa: F401
from lightvit_bench.errors import ConfigError

LR, DECAY = 0.1, 0.5


def make(**model):
    config = dict(
        type="Pretraining",
        backbone=dict(preset="vit_test"),
        decoder=dict(width=16, depth=1, heads=2),
    )
    return MODELS.build({**config, **model})


def wrapper(model, **paramwise):
    return build_optim_wrapper(
        model,
        dict(
            type="OptimWrapper",
            optimizer=dict(type="AdamW", lr=LR, weight_decay=DECAY),
            constructor="PretrainOptimConstructor",
            paramwise_cfg=paramwise,
        ),
    )


def shrunk_by_a_step_without_gradient(model, **paramwise) -> set[str]:
    """The parameters that weight decay alone moves: what the optimiser really does."""
    optim = wrapper(model, **paramwise).optimizer
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    optim.step()
    moved = {name: p for name, p in model.named_parameters() if not torch.all(p == 1.0)}
    for parameter in moved.values():
        assert torch.allclose(parameter, torch.full_like(parameter, 1 - LR * DECAY))
    return set(moved)


@pytest.fixture()
def distilled():
    return make(
        decode_after=2,
        distill=dict(
            teacher=dict(preset="vit_test", init="random"), attention=[(4, 3)], hidden=[(2, 2)]
        ),
    )


def test_the_authors_rule(distilled):
    decayed = shrunk_by_a_step_without_gradient(distilled)
    for name in (
        "method.encoder.cls_token",
        "method.decoder.mask_token",
        "method.encoder.patch_embed.proj.weight",
        "method.encoder.blocks.2.attn.qkv.weight",
        "method.decoder.pred.weight",
    ):
        assert name in decayed
    # timm 0.4.12's filter without a list of exceptions, on what is trained
    trained = {name: p for name, p in distilled.named_parameters() if p.requires_grad}
    assert decayed == {
        name for name, p in trained.items() if not (len(p.shape) == 1 or name.endswith(".bias"))
    }
    assert sum("adapters" in name for name in decayed) == 2  # attention's and hidden states'
    assert any(name.startswith("method.logits_block") for name in decayed)
    assert not any("norm" in name or name.endswith("bias") for name in decayed)


def test_the_clean_rule_leaves_tokens_out_and_no_more(distilled):
    authors = shrunk_by_a_step_without_gradient(distilled)
    clean = shrunk_by_a_step_without_gradient(distilled, clean=True)
    assert authors - clean == {"method.encoder.cls_token", "method.decoder.mask_token"}
    assert clean < authors


def test_learned_positions_are_decayed_unless_clean():
    def hiera():
        return make(
            backbone=dict(preset="hiera_test"),
            decoder=dict(width=16, depth=1, heads=2),
            mask_ratio=0.4,
        )

    authors = shrunk_by_a_step_without_gradient(hiera())
    clean = shrunk_by_a_step_without_gradient(hiera(), clean=True)
    tables = {"method.encoder.pos_embed", "method.decoder.pos_embed"}
    assert tables <= authors
    assert authors - clean == tables | {"method.decoder.mask_token"}


def test_every_trained_parameter_once_and_no_frozen_one(distilled):
    optim = wrapper(distilled).optimizer
    held = [p for group in optim.param_groups for p in group["params"]]
    trained = [p for p in distilled.parameters() if p.requires_grad]
    assert sorted(map(id, held)) == sorted(map(id, trained))
    by_id = {id(p): name for name, p in distilled.named_parameters()}
    for group in optim.param_groups:
        assert [by_id[id(p)] for p in group["params"]] == group["param_names"]
    frozen = {name for name, p in distilled.named_parameters() if not p.requires_grad}
    assert "method.encoder.pos_embed" in frozen and "method.decoder.pos_embed" in frozen


@pytest.mark.parametrize("paramwise", [{"norm_decay_mult": 0.0}, {"clean": "yes"}])
def test_what_it_does_not_know_is_refused(paramwise):
    with pytest.raises(ConfigError, match="clean"):
        wrapper(make(), **paramwise)
