"""Models of timm as backbones: what they give, what is refused, where their weights start from."""

import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData
from safetensors.torch import save_file
from torch import nn

import lightvit_bench.openmmlab.layer_decay  # noqa: F401  registers its class
from lightvit_bench import compat
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.openmmlab.channels import fit_channels
from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.openmmlab.timm_backbone import TimmBackbone, _name_in, check_timm_init
from lightvit_bench.openmmlab.timm_maps import ask_timm, build_anywhere

# isort: split
import timm  # after ours, which prepare its import
from timm.models._builder import build_model_with_cfg

SMALL = "ghostnet_050"
CONFIG = "configs/ade20k/fpn_repvit_m1_0.py"
SWIN = dict(embed_dim=24, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8))  # an option reaches timm
# Families of timm, a small member of each, with options that make it smaller still.
FAMILIES = {
    "convnext_atto": dict(depths=(1, 1, 1, 1)),
    "edgenext_xx_small": {},
    "efficientvit_b0": {},
    "fastvit_t8": dict(layers=(1, 1, 1, 1)),
    "mobilenetv4_conv_small": {},
    "pvt_v2_b0": dict(depths=(1, 1, 1, 1)),
    "repvit_m0_9": {},
    "resnet10t": {},
    "swin_tiny_patch4_window7_224": SWIN,
    "tiny_vit_5m_224": dict(depths=(1, 1, 1, 1)),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Layers this small take less time than threads need to wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def built(scope: str, model: dict) -> nn.Module:
    """A model as a library builds it, its config completed as `load_config` does."""
    cfg = Config(dict(default_scope=scope, model=model))
    fit_channels(cfg)
    with DefaultScope.overwrite_default_scope(scope):
        return MODELS.build(cfg.model)


def segmentor(**backbone) -> tuple[nn.Module, dict]:
    """mmsegmentation's Semantic FPN, narrow, and two images with labels."""
    compat.import_mmseg()
    from mmseg.structures import SegDataSample

    norm_cfg = dict(type="BN")
    model = dict(
        type="EncoderDecoder",
        data_preprocessor=dict(
            type="SegDataPreProcessor", mean=[99] * 3, std=[50] * 3, size_divisor=32
        ),
        backbone=dict(type="TimmBackbone", **backbone),
        neck=dict(type="FPN", in_channels="backbone", out_channels=16, num_outs=4),
        decode_head=dict(
            type="FPNHead", in_channels=[16] * 4, in_index=[0, 1, 2, 3], channels=8, num_classes=5,
            feature_strides=[4, 8, 16, 32], norm_cfg=norm_cfg, align_corners=False,
        ),
        auxiliary_head=[
            dict(
                type="FCNHead", in_channels=16, in_index=2, channels=8, num_convs=1, num_classes=5,
                concat_input=False, norm_cfg=norm_cfg, align_corners=False,
            )
        ],
    )  # fmt: skip
    samples = [SegDataSample() for _ in range(2)]
    for sample in samples:
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 5, (1, 64, 96)))
    images = [torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8) for _ in samples]
    return built("mmseg", model), dict(inputs=images, data_samples=samples)


def detector(**backbone) -> tuple[nn.Module, dict]:
    """mmdetection's RetinaNet, narrow, and two images with boxes."""
    import mmdet.models  # noqa: F401
    from mmdet.structures import DetDataSample

    model = dict(
        type="RetinaNet",
        data_preprocessor=dict(
            type="DetDataPreprocessor", mean=[99] * 3, std=[50] * 3, pad_size_divisor=32
        ),
        backbone=dict(type="TimmBackbone", **backbone),
        neck=dict(type="FPN", in_channels="backbone", out_channels=16, num_outs=5),
        bbox_head=dict(
            type="RetinaHead", num_classes=5, in_channels=16, stacked_convs=1, feat_channels=16,
            anchor_generator=dict(
                type="AnchorGenerator", octave_base_scale=4, scales_per_octave=1, ratios=[1.0],
                strides=[4, 8, 16, 32, 64],
            ),
        ),
        train_cfg=dict(
            assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
            sampler=dict(type="PseudoSampler"), allowed_border=-1, pos_weight=-1, debug=False,
        ),
    )  # fmt: skip
    samples = [DetDataSample(metainfo=dict(img_shape=(60, 90))) for _ in range(2)]
    for sample in samples:
        boxes = torch.tensor([[8.0, 8, 40, 44], [30, 20, 80, 56]])
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([1, 3]))
    images = [torch.randint(0, 256, (3, 60, 90), dtype=torch.uint8) for _ in samples]
    return built("mmdet", model), dict(inputs=images, data_samples=samples)


@pytest.mark.parametrize("task", [segmentor, detector])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_training_step_in_both_libraries(name, task):
    torch.manual_seed(0)
    model, data = task(name=name, **FAMILIES[name])
    model.train()
    wrapper = build_optim_wrapper(
        model,
        dict(
            type="OptimWrapper",
            optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05),
            constructor="LayerDecayConstructor",
            paramwise_cfg=dict(layer_decay_rate=0.5),
        ),
    )
    before = {key: value.detach().clone() for key, value in model.named_parameters()}
    losses = model._run_forward(model.data_preprocessor(data, True), mode="loss")
    loss = model.parse_losses(losses)[0]
    loss.backward()
    # All is used: a layer left out would stop a run on several GPUs.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    wrapper.step()
    after = dict(model.named_parameters())
    assert loss.isfinite() and all(value.isfinite().all() for value in after.values())
    moved = {key for key in after if not torch.equal(before[key], after[key])}
    trained = [key for key in after if key.startswith("backbone.")]
    assert {trained[0], trained[-1]} <= moved
    rates = {group["lr"] for group in wrapper.optimizer.param_groups}
    assert rates == {1e-3, 5e-4}  # the backbone learns at the decayed rate


@pytest.mark.parametrize("name", FAMILIES)
def test_maps_have_the_sizes_of_their_strides(name):
    """Whatever the family does with sides that its strides do not divide."""
    backbone = TimmBackbone(name, **FAMILIES[name]).eval()
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, 100, 132))
    assert backbone.strides == (4, 8, 16, 32)
    assert [tuple(x.shape[1:]) for x in maps] == [
        (channels, -(-100 // stride), -(-132 // stride))
        for channels, stride in zip(backbone.channels, backbone.strides, strict=True)
    ]


@pytest.mark.parametrize("name", ["convnext_atto", "pvt_v2_b0", "swin_tiny_patch4_window7_224"])
def test_maps_are_timms_own(name, tmp_path):
    """A classifier saved by timm, loaded, gives timm's own intermediate maps."""
    torch.manual_seed(0)
    size = dict(strict_img_size=False) if "swin" in name else {}
    whole = timm.create_model(name, num_classes=7, **FAMILIES[name], **size).eval()
    torch.save({"state_dict": whole.state_dict(), "epoch": 3}, tmp_path / "timm.pth")
    backbone = TimmBackbone(name, init=str(tmp_path / "timm.pth"), **FAMILIES[name]).eval()
    backbone.init_weights()
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps = backbone(image)
        theirs = whole.forward_intermediates(image, intermediates_only=True)
    for ours, reference in zip(maps, theirs[-4:], strict=True):
        assert torch.allclose(ours, reference, atol=1e-5)


@pytest.mark.parametrize("name", [*FAMILIES, "nextvit_small", "mambaout_femto", "mvitv2_tiny"])
def test_every_layer_has_its_name_in_the_whole_model(name):
    """NextViT's stem has a norm of the name that the whole model has for its last."""
    options = FAMILIES.get(name, {})
    whole = build_anywhere(name, options, features_only=False).state_dict()
    own = build_anywhere(name, options).state_dict()
    found = {_name_in(whole, key): tensor.shape for key, tensor in own.items()}
    assert len(found) == len(own)
    assert all(whole[key].shape == shape for key, shape in found.items())


def test_weights_of_a_compiled_training_and_what_is_left_over(tmp_path, monkeypatch):
    path = tmp_path / "timm.safetensors"
    whole = timm.create_model(SMALL)
    save_file({f"_orig_mod.module.{k}": v for k, v in whole.state_dict().items()}, path)
    said = []
    monkeypatch.setattr(
        "lightvit_bench.openmmlab.timm_backbone.print_log", lambda text, **_: said.append(text)
    )
    backbone = TimmBackbone(SMALL, init=str(path))
    backbone.init_weights()
    own = backbone.model.state_dict()
    assert torch.equal(own["conv_stem.weight"], whole.conv_stem.weight)
    assert torch.equal(own["blocks_0.0.ghost1.primary_conv.0.weight"],
                       whole.blocks[0][0].ghost1.primary_conv[0].weight)  # fmt: skip
    left = len(whole.state_dict()) - len(own)
    assert f"{len(own)} loaded, {left} left over" in said[0]


def test_weights_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "timm.safetensors"
    state = timm.create_model(SMALL).state_dict()
    state.pop("conv_stem.weight")
    state["bn1.bias"] = torch.zeros(3)
    state["ears.weight"] = torch.zeros(2)
    save_file(state, path)
    backbone = TimmBackbone(SMALL, init=str(path))
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        backbone.init_weights()
    text = str(caught.value)
    assert "does not fit the ghostnet_050 of timm" in text
    assert "missing:    conv_stem.weight" in text
    assert "unexpected: ears.weight" in text
    assert "bn1.bias: (3,) in the file" in text
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())


def test_older_files_go_through_timms_own_filter(tmp_path):
    """RepViT's authors keep weights under "model"; Swin's hold tables that timm computes."""
    name, path = "swin_tiny_patch4_window7_224", tmp_path / "swin.pth"
    whole = timm.create_model(name, **SWIN)
    state = dict(whole.state_dict())
    state["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49)
    torch.save({"model": state}, path)
    backbone = TimmBackbone(name, init=str(path), **SWIN)
    backbone.init_weights()
    assert torch.equal(
        backbone.model.state_dict()["layers_3.blocks.0.mlp.fc1.weight"],
        state["layers.3.blocks.0.mlp.fc1.weight"],
    )


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("it ran",))

    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="not safe"):
        TimmBackbone(SMALL, init=str(tmp_path / "evil.pth")).init_weights()


def test_random_weights_are_timms_and_stay():
    """The seed decides, whether or not the model was asked before."""
    torch.manual_seed(5)
    reference = timm.create_model(SMALL, features_only=True, out_indices=(1, 2, 3, 4))
    torch.manual_seed(5)
    backbone = TimmBackbone(SMALL)
    backbone.init_weights()
    for ours, theirs in zip(backbone.parameters(), reference.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_timms_own_weights_need_the_hub(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    config = dict(backbone=dict(type="TimmBackbone", name=SMALL, init="pretrained"))
    config["backbone"]["name"] = "ghostnet_100"
    with pytest.raises(ConfigError, match="pip install huggingface_hub(?s:.*)init=PATH"):
        check_timm_init(config)
    with pytest.raises(ConfigError, match="huggingface_hub"):
        TimmBackbone("ghostnet_100", init="pretrained").init_weights()
    config["backbone"]["name"] = SMALL
    with pytest.raises(ConfigError, match="no weights for ghostnet_050"):
        check_timm_init(config)


def test_timms_own_weights_are_taken(monkeypatch):
    """What timm fetches, here from a generator, is what the backbone has."""
    backbone = TimmBackbone("ghostnet_100", init="pretrained")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    create, fetched = timm.create_model, []

    def fetch(name, pretrained, **options):
        assert pretrained
        fetched.append(create(name, **options))
        return fetched[0]

    monkeypatch.setattr(timm, "create_model", fetch)
    backbone.init_weights()
    assert torch.equal(backbone.model.conv_stem.weight, fetched[0].conv_stem.weight)

    monkeypatch.setattr(
        timm, "create_model", lambda *a, **k: (_ for _ in ()).throw(OSError("down"))
    )
    with pytest.raises(CheckpointError, match="could not fetch(?s:.*)OSError: down"):
        backbone.init_weights()


def test_pixels_must_be_those_of_the_weights(tmp_path):
    path = tmp_path / "timm.safetensors"
    save_file(timm.create_model(SMALL).state_dict(), path)
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    model = dict(
        backbone=dict(type="TimmBackbone", name=SMALL, init=str(path)),
        data_preprocessor=dict(mean=mean, std=std),
    )
    check_timm_init(model)
    model["data_preprocessor"]["mean"] = [127.5] * 3
    with pytest.raises(CheckpointError, match=r"another mean(?s:.*)mean=\[123.675,116.28,103.53\]"):
        check_timm_init(model)
    model["backbone"]["pretrained_cfg_overlay"] = dict(mean=(0.5, 0.5, 0.5))
    check_timm_init(model)
    model["backbone"]["init"] = "random"
    model["backbone"].pop("pretrained_cfg_overlay")
    check_timm_init(model)
    model["backbone"]["init"] = str(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError, match="is not there(?s:.*)absent.pth"):
        check_timm_init(model)


def test_misspelt_name_lists_near_matches():
    with pytest.raises(ConfigError, match="no model 'reptiv_m1_0'(?s:.*)near: .*repvit_m1_0"):
        ask_timm("reptiv_m1_0")
    with pytest.raises(ConfigError, match="no weights 'repvit_m1_0.nope'(?s:.*)dist_450e_in1k"):
        ask_timm("repvit_m1_0.nope")


def test_options_that_timm_does_not_take():
    with pytest.raises(ConfigError, match="repvit_m1_0 does not take(?s:.*)'wings'"):
        ask_timm("repvit_m1_0", wings=2)
    with pytest.raises(ConfigError, match="out_indices is not for a TimmBackbone"):
        ask_timm(SMALL, out_indices=(0, 1))


@pytest.mark.parametrize("name", ["mixer_s32_224", "vit_tiny_patch16_224"])
def test_a_model_of_one_stride_says_which_it_has(name):
    stride = 32 if "mixer" in name else 16
    with pytest.raises(ConfigError, match=f"no feature maps at stride .*: it has {stride}.\n") as e:
        ask_timm(name)
    assert f"model.backbone.out_strides=({stride},)" in str(e.value)
    assert ask_timm(name, (stride,)).channels == ((512,) if stride == 32 else (192,))


def test_a_plain_vit_takes_any_size():
    backbone = TimmBackbone("vit_tiny_patch16_224", out_strides=(16,), depth=3).eval()
    assert backbone.maps.options["dynamic_img_size"]
    assert backbone(torch.randn(1, 3, 50, 70))[0].shape == (1, 192, 4, 5)


def test_a_name_like_no_other_has_no_list_of_near_ones():
    for name in ("zzzqqq", 5):
        with pytest.raises(ConfigError) as caught:
            ask_timm(name)
        assert "near" not in str(caught.value) and "timm.list_models()" in str(caught.value)


def test_nothing_is_said_of_weights_that_nobody_asked_for(caplog):
    """Of a person's own model timm says so each time that it is built."""

    @timm.models.register_model
    def own_resnet(pretrained=False, **options):
        return build_model_with_cfg(timm.models.ResNet, "own_resnet", False, **options)

    block = timm.models.resnet.BasicBlock
    level = logging.getLogger("timm").level
    ask_timm("own_resnet", block=block, layers=(1, 1, 1, 1))
    assert not caplog.records and logging.getLogger("timm").level == level


@pytest.mark.parametrize("strides", ["4,8", ["a", "b"], (4.0, 8), None, (True, 2), (0, 4), {4: 8}])
def test_strides_must_be_whole_numbers(strides):
    with pytest.raises(ConfigError, match="no whole numbers(?s:.*)example"):
        ask_timm(SMALL, strides)


@pytest.mark.parametrize("strides", [(8, 4), (), (4, 4)])
def test_strides_must_ascend(strides):
    with pytest.raises(ConfigError, match="not ascending"):
        ask_timm(SMALL, strides)


def test_a_model_without_maps_is_refused():
    """All of timm's have some; a person's own, registered with timm, may not."""

    @timm.models.register_model
    def mapless(pretrained=False, **options):
        if options.pop("features_only", False):
            raise RuntimeError("features_only not implemented for this.")
        return nn.Linear(3, 3)

    with pytest.raises(
        ConfigError, match="mapless gives no feature maps: .*(?s:.*)not implemented"
    ):
        ask_timm("mapless")


def test_a_map_of_another_size_than_its_stride_says():
    """NASNet's stem does not pad."""
    with pytest.raises(ConfigError, match="stride 2, and makes it 47 x 79 of .* 96 x 160 px"):
        ask_timm("nasnetalarge", (2, 4))


def test_a_model_of_one_image_size():
    backbone = TimmBackbone("levit_128s", out_strides=(16, 32, 64)).eval()
    assert backbone.maps.size == (224, 224)
    assert [x.shape[-1] for x in backbone(torch.randn(1, 3, 224, 224))] == [14, 7, 4]
    with pytest.raises(ConfigError, match="224 x 224 px alone, and got one of 100 x 132"):
        backbone(torch.randn(1, 3, 100, 132))


def test_another_name_is_one_line(repo, monkeypatch):
    monkeypatch.chdir(repo)
    assert load_config(CONFIG).model.neck.in_channels == [56, 112, 224, 448]
    cfg = load_config(CONFIG, ["model.backbone.name=fastvit_t8"])
    assert cfg.model.neck.in_channels == [48, 96, 192, 384]
    assert "backbone" not in [v for v in cfg.model.neck.values() if isinstance(v, str)]
    with pytest.raises(ConfigError, match="no model 'fastvit_t9'(?s:.*)fastvit_t8"):
        load_config(CONFIG, ["model.backbone.name=fastvit_t9"])


def test_channels_arrive_wherever_they_are_asked_for():
    cfg = Config(
        dict(
            model=dict(
                backbone=dict(type="TimmBackbone", name=SMALL),
                neck=[dict(in_channels="backbone"), dict(inner=dict(in_channels="backbone[-1]"))],
                decode_head=dict(in_channels=["backbone[0]", 7], c1_in_channels="backbone[1]"),
                note="backbone",
            )
        )
    )
    fit_channels(cfg)
    assert cfg.model.neck[0].in_channels == [12, 20, 40, 80]
    assert cfg.model.neck[1].inner.in_channels == 80
    assert cfg.model.decode_head == dict(in_channels=[12, 7], c1_in_channels=20)
    assert cfg.model.note == "backbone"


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(neck=dict(in_channels="backbone[4]")), r"model.neck.in_channels=.*gives 4 maps"),
        (dict(backbone=dict(type="ViTBackbone"), neck=dict(in_channels="backbone")), "only a Timm"),
        (dict(backbone=dict(type="TimmBackbone")), "without the name"),
    ],
)
def test_channels_that_cannot_be_found(changes, message):
    model = dict(backbone=dict(type="TimmBackbone", name=SMALL)) | changes
    with pytest.raises(ConfigError, match=message):
        fit_channels(Config(dict(model=model)))


def test_torchs_sync_bn_is_refused():
    """It would replace timm's BatchNorm with its activation by one without."""
    cfg = Config(dict(model=dict(backbone=dict(type="TimmBackbone", name=SMALL)), sync_bn="torch"))
    with pytest.raises(ConfigError, match="take the activations out"):
        fit_channels(cfg)


def test_no_timm_model_is_asked_without_need(repo, monkeypatch):
    monkeypatch.chdir(repo)
    monkeypatch.setattr(
        "lightvit_bench.openmmlab.timm_maps.ask_timm", lambda *_, **__: pytest.fail("asked")
    )
    load_config("configs/ade20k/fpn_dmae_tiny.py")
