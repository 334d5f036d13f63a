"""Distillation losses, by hand; a teacher that computes no more than it must."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from lightvit_bench.errors import ConfigError
from lightvit_bench.pretrain.distill import Distillation, relation_loss
from lightvit_bench.pretrain.masking import Masking
from lightvit_bench.pretrain.taps import Taps, Wanted, tap_blocks
from lightvit_bench.pretrain.teacher import Teacher, check_pair, read_taps
from lightvit_bench.vit import VisionTransformer, ViTPreset


def sized(depth, heads, width):
    return SimpleNamespace(depth=depth, heads_of=lambda block: heads, width_of=lambda block: width)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return VisionTransformer("vit_test").eval()


@pytest.fixture
def image():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_attention_loss_by_hand():
    torch.manual_seed(0)
    distillation = Distillation(sized(3, 2, 8), sized(5, 3, 12), attention=[(3, 5)])
    student, teacher = torch.randn(2, 2, 4, 4), torch.randn(2, 3, 4, 4)
    (adapter,) = distillation.parameters()  # no bias
    assert adapter.shape == (3, 2, 1, 1)
    wanted = 0.0
    for head in range(3):
        adapted = sum(adapter[head, i, 0, 0] * student[:, i] for i in range(2))
        wanted = wanted + ((adapted - teacher[:, head]) ** 2).mean() / 3
    losses = distillation(Taps(logits={3: student}), Taps(logits={5: teacher}))
    assert list(losses) == ["loss_attention"]
    torch.testing.assert_close(losses["loss_attention"], wanted)


def test_pairs_add_up_and_are_weighted():
    torch.manual_seed(0)
    pairs = [(1, 2), (3, 5)]
    distillation = Distillation(
        sized(3, 2, 8), sized(5, 3, 12), attention=pairs, hidden=[(2, 4)],
        attention_weight=0.5, hidden_weight=2.0,
    )  # fmt: skip
    taps = [
        Taps(
            logits={b: torch.randn(2, heads, 4, 4) for b in blocks},
            hidden={h: torch.randn(2, 4, width)},
        )
        for heads, blocks, h, width in ((2, (1, 3), 2, 8), (3, (2, 5), 4, 12))
    ]
    losses = distillation(*taps)
    adapters = distillation.attention_adapters
    single = [
        F.mse_loss(adapters[f"{s}_from_{t}"](taps[0].logits[s]), taps[1].logits[t])
        for s, t in pairs
    ]
    torch.testing.assert_close(losses["loss_attention"], 0.5 * (single[0] + single[1]))
    hidden = distillation.hidden_adapters["2_from_4"](taps[0].hidden[2])
    torch.testing.assert_close(losses["loss_hidden"], 2 * F.mse_loss(hidden, taps[1].hidden[4]))


def test_relation_loss_by_hand():
    """Rows of softmaxed products, in the teacher's number of heads; KL(teacher || student)."""
    torch.manual_seed(0)
    student = [torch.randn(2, 4, 5, 6) for _ in range(3)]  # 4 heads of 6
    teacher = [torch.randn(2, 3, 5, 7) for _ in range(3)]  # 3 heads of 7: the student's get 8
    cut = [x.transpose(1, 2).reshape(2, 5, 3, 8).transpose(1, 2) for x in student]
    wanted = 0.0
    for a, b in ((0, 1), (2, 2)):
        p = (teacher[a] @ teacher[b].mT / 7**0.5).softmax(-1)
        q = (cut[a] @ cut[b].mT / 8**0.5).softmax(-1)
        wanted = wanted + (p * (p / q).log()).sum(-1).mean()
    torch.testing.assert_close(relation_loss(student, teacher), wanted)
    assert relation_loss(teacher, teacher).abs() < 1e-6


def test_taps_are_what_the_whole_encoder_computes(encoder, image):
    tokens = encoder.with_cls(encoder.patchify(image))
    run = encoder.run_blocks(tokens, outputs_of=(0, 1, 2), logits_of=(0, 1, 2))
    wanted = Wanted(logits=(1, 3), hidden=(2, 3), relations=(3,))
    for cut in (False, True):
        end, taps = tap_blocks(encoder, tokens, wanted, cut=cut)
        torch.testing.assert_close(taps.logits, {1: run.logits[0], 3: run.logits[2]})
        for block in (2, 3):
            normed = encoder.blocks[block - 1].norm1(run.outputs[block - 2])
            torch.testing.assert_close(taps.hidden[block], normed)
        q, k, v = taps.relations[3]
        torch.testing.assert_close(encoder.blocks[2].attn.logits(q, k), run.logits[2])
        assert v.shape == q.shape == (2, 4, 17, 8)
        torch.testing.assert_close(end, run.outputs[1 if cut else 2])


def test_a_teacher_sees_the_same_tokens_and_does_not_run_its_last_block(encoder, image):
    masking = Masking.of(torch.stack([torch.randperm(16) for _ in range(2)]), 4)
    run = encoder.run_blocks(
        encoder.with_cls(encoder.patchify(image, keep=masking.keep)), logits_of=(2,)
    )
    last = encoder.blocks[2]
    for module in (last.mlp, last.norm2, last.attn.proj):
        module.register_forward_hook(lambda *_: pytest.fail("more than the loss needs was run"))
    taps = read_taps(encoder, image, masking, Wanted(logits=(3,)))
    torch.testing.assert_close(taps.logits[3], run.logits[2])
    assert taps.logits[3].shape == (2, 4, 5, 5)


def test_a_teacher_learns_nothing_and_stays_in_float32(encoder, image):
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    teacher = Teacher(encoder.train(), Wanted(logits=(3,)))
    masking = Masking.of(torch.arange(16).expand(2, -1), 4)
    exact = teacher(image, masking).logits[3]
    assert not exact.requires_grad and not encoder.training
    with torch.autocast("cpu", torch.bfloat16):
        rough = teacher(image, masking).logits[3]
    assert rough.dtype == torch.bfloat16
    assert (rough - exact).abs().mean() < 0.02 * exact.abs().mean()
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    torch.testing.assert_close(teacher(image, masking).logits[3], exact)


def preset(**changes):
    return ViTPreset(**{**dict(name="other", width=32, depth=2, heads=4, img_size=64), **changes})


def test_other_patches_or_sizes_are_refused(encoder):
    check_pair(encoder, VisionTransformer(preset(width=64, heads=8, depth=5)))
    with pytest.raises(ConfigError, match="other patches: 16 px .* 8 px"):
        check_pair(encoder, VisionTransformer(preset(patch=8)))
    with pytest.raises(ConfigError, match=r"other sizes: \(64, 64\) and \(96, 96\)") as error:
        check_pair(encoder, VisionTransformer(preset(img_size=96)))
    assert "model.distill.teacher.img_size" in str(error.value)


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (dict(attention=[(4, 5)]), "block 4 of the student, which has 3"),
        (dict(attention=[(3, 6)]), "block 6 of the teacher, which has 5"),
        (dict(hidden=[(0, 1)]), "block 0 of the student"),
        (dict(), "nothing to learn"),
        (dict(attention=[3, 5]), "not a list of pairs"),
        (dict(attention=[(3, 5), (3, 5)]), "twice"),
        (dict(relation=[(3, 5)]), "width 8 cannot be cut into the teacher's 3 heads"),
    ],
)
def test_pairs_that_make_no_sense_are_refused(pairs, says):
    with pytest.raises(ConfigError, match=says):
        Distillation(sized(3, 2, 8), sized(5, 3, 12), **pairs)
