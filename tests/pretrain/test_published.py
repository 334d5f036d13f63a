"""Pre-training files of the authors, and the numbers their code computes for them."""

import json

import pytest
import torch

from lightvit_bench.errors import CheckpointError
from lightvit_bench.pretrain.published import from_published

# MAE-Lite's own numbers for these are not at hand. Ours are those of an independent float64
# implementation, written from the papers and Meta's description.
D2_LOSSES = (2.047804710407433, 1.5561533908911216)
HIERA_LOSS = 2.1148461881604934


@pytest.fixture(scope="module")
def reference(shared):
    return json.loads((shared / "golden/reference.json").read_text())


@pytest.fixture(scope="module")
def batch(golden):
    inputs = golden.inputs()
    return inputs["image"], inputs["ids_shuffle"]


def summarised(tensor, expected):
    """Whether a tensor has the mean, deviation, length and entries of the reference."""
    flat = tensor.double().flatten()
    measured = dict(mean=flat.mean(), std=flat.std(), l2=flat.norm(), v=flat[expected["at"]])
    for key, value in measured.items():
        scale = expected["l2"] if key == "l2" else expected["std"]
        wanted = torch.tensor(expected[key], dtype=torch.float64)
        torch.testing.assert_close(value, wanted, rtol=0, atol=1e-4 * scale)


@torch.no_grad()
def test_mae_of_the_authors(golden, reference, batch):
    image, order = batch
    model = from_published(golden.checkpoints()["mae_tiny_400e.pth.tar"])
    expected = reference["mae_tiny"]
    assert model(image, order)["loss_pixels"].item() == pytest.approx(expected["loss"], rel=1e-5)
    masking = model.method.masking(order)
    output = model.method(image, masking, everywhere=True)
    summarised(output.latent, expected["latent"])
    summarised(output.pred, expected["pred"])
    assert masking.hidden.sum(dim=1).tolist() == expected["mask_sum"]


@torch.no_grad()
def test_dmae_of_the_authors(golden, reference, batch, tmp_path):
    """From a file, as they release it."""
    image, order = batch
    file = tmp_path / "mae_tiny_distill_400e.pth.tar"
    torch.save(golden.checkpoints()[file.name], file)
    model = from_published(file)
    expected = reference["d_mae_tiny"]
    losses = model(image, order)
    assert losses["loss_attention"].item() == pytest.approx(expected["attn_loss"], rel=1e-5)
    assert sum(losses.values()).item() == pytest.approx(expected["total"], rel=1e-5)
    masking = model.method.masking(order)
    teacher = model.teacher(image, masking)
    summarised(teacher.logits[12], expected["teacher_logits"])
    taps = model.method(image, masking, model.distillation.of_student).taps
    summarised(taps.logits[12], expected["student_logits"])


@torch.no_grad()
def test_d2mae_and_hiera_layouts(golden, batch):
    """Every tensor has its place; the sizes are as published, the losses a second opinion's."""
    image, order = batch
    plain = golden.fill(golden.layout("mae_tiny_d2"), "student.")
    teacher = {
        name: tensor
        for name, tensor in golden.mae("mae_base", "teacher.", 768, 512).items()
        if "decoder" not in name and name != "mask_token"
    }
    content = {f"module.model.{k}": v for k, v in plain.items()}
    content |= {f"module.tch_model.{k}": v for k, v in teacher.items()}
    content["module.attn_adapter.adapter11.weight"] = golden.inputs()["adapter"]
    model = from_published({"model": content})
    assert model.recipe == "d2mae" and model.method.decode_after == 8
    assert sum(p.numel() for p in model.method.parameters()) == 5_860_032
    both = model(image, order)
    assert set(both) == {"loss_pixels", "loss_attention"}
    alone = from_published(plain)  # the student's file
    assert alone.recipe == "d2mae" and alone.method.depth == 13
    assert alone(image, order) == {"loss_pixels": both["loss_pixels"]}
    wanted = model.distillation.of_student
    ours, its = (m.method(image, m.method.masking(order), wanted).taps for m in (model, alone))
    assert torch.equal(ours.logits[13], its.logits[13])
    assert both["loss_pixels"].item() == pytest.approx(D2_LOSSES[0], rel=1e-5)
    assert both["loss_attention"].item() == pytest.approx(D2_LOSSES[1], rel=1e-5)
    assert model.distillation.of_student.logits == (13,)
    assert model.distillation.of_teacher.logits == (12,)

    hiera = golden.fill(golden.layout("mae_hiera_tiny"), "student.")
    model = from_published({f"module.model.{k}": v for k, v in hiera.items()})
    assert sum(p.numel() for p in model.method.parameters()) == 6_973_838
    assert (model.method.units, model.method.kept) == (49, 29)
    loss = model(image, order[:, :49].argsort(dim=1))["loss_pixels"]
    assert loss.item() == pytest.approx(HIERA_LOSS, rel=1e-5)


def test_what_does_not_fit_is_named(golden):
    content = golden.checkpoints()["mae_tiny_distill_400e.pth.tar"]["model"]
    encoder = {k: v for k, v in content.items() if "decoder" not in k}
    with pytest.raises(CheckpointError, match="no pre-training of MAE-Lite"):
        from_published({"model": encoder})
    for change, says in (
        ("module.model.blocks.5.norm1.weight", "student"),
        ("module.tch_model.blocks.5.norm1.weight", "teacher"),
        ("module.attn_adapter.adapter11.weight", "adapter"),
    ):
        less = {k: v for k, v in content.items() if k != change}
        with pytest.raises(CheckpointError, match=says) as error:
            from_published({"model": less})
        assert "missing" in str(error.value)
    with pytest.raises(CheckpointError, match="unexpected"):
        from_published({"model": {**content, "module.model.surprise": torch.zeros(1)}})
    shallow = {k: v for k, v in content.items() if "blocks.11." not in k}
    with pytest.raises(CheckpointError, match="width 192 and 11 blocks"):
        from_published({"model": shallow})
