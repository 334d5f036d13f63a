"""Encoders as files for ONNX Runtime and OpenVINO: what they compute, say, and refuse."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

from lightvit_bench.checkpoint import save_encoder, sha256
from lightvit_bench.errors import BadDataError, CheckpointError, ConfigError, MissingDataError
from lightvit_bench.onnx_files import onnx_graph
from lightvit_bench.openmmlab import export_encoder as module
from lightvit_bench.openmmlab.backbone import HieraBackbone, ViTBackbone
from lightvit_bench.openmmlab.encoder_parity import load_pictures
from lightvit_bench.openmmlab.export_encoder import export_encoder, in_brief
from lightvit_bench.openmmlab.fixed_encoder import fixed_encoder
from lightvit_bench.openvino_core import core
from lightvit_bench.vit import VisionTransformer

MEAN, STD = [120.0, 110.0, 100.0], [58.0, 57.0, 56.0]
PIXELS = dict(mean=MEAN, std=STD, bgr_to_rgb=True)
VIT = dict(type="ViTBackbone", preset="vit_test", out_blocks=(2, 0, 2), layer_scale=1.0)
REL_POS = dict(**VIT, rel_pos=True)
HIERA = dict(type="HieraBackbone", preset="hiera_test", out_stages=(0, 3))


def write_config(folder, backbone, pixels=PIXELS, **model):
    path = folder / "tiny.py"
    path.write_text(f"model = {dict(backbone=backbone, data_preprocessor=pixels, **model)!r}\n")
    return path


def trained(backbone, path):
    """A backbone of which no parameter is at its neutral start, and a run's checkpoint of it."""
    arguments = {key: value for key, value in backbone.items() if key != "type"}
    kind = dict(ViTBackbone=ViTBackbone, HieraBackbone=HieraBackbone)[backbone["type"]]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        built = kind(**arguments).eval()
        for name, parameter in built.named_parameters():
            noise = torch.randn_like(parameter)
            parameter.data += noise * (1.0 if "relative_position" in name else 0.1)
    state = {f"backbone.{name}": tensor for name, tensor in built.state_dict().items()}
    torch.save(dict(state_dict={**state, "decode_head.w": torch.zeros(2)}, meta={}), path)
    return built


@torch.no_grad()
def expected_maps(backbone, images, mean=MEAN, std=STD):
    pixels = (images.astype(np.float32) - np.float32(mean)) / np.float32(std)
    return [one.numpy() for one in backbone(torch.from_numpy(pixels).permute(0, 3, 1, 2))]


def noise_images(batch, size):
    rng = np.random.default_rng(batch)
    return rng.integers(0, 256, (batch, *size, 3), dtype=np.uint8)


def onnx_maps(path, images):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["image"]
    return session.run(None, {"image": images})


def operators(path):
    return {node.op_type for node in onnx.load(path).graph.node}


def metadata(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


@pytest.fixture(scope="module")
def with_rel_pos(tmp_path_factory):
    """ViT with relative positions, at a size that is neither its own nor in whole patches.

    It is so large that the exporter, left alone, would not fold the tables: 4 * 307**2 entries.
    """
    folder = tmp_path_factory.mktemp("rel_pos")
    config, size = write_config(folder, REL_POS), (264, 280)
    backbone = trained(REL_POS, folder / "iter_8.pth")
    done = export_encoder(config, folder / "iter_8.pth", folder / "out" / "vit.onnx", size=size)
    return done, backbone, folder / "iter_8.pth"


def check_maps(done, backbone, run=onnx_maps, mean=MEAN, std=STD):
    """The file's maps are the backbone's, for batches of any number; and it was told so."""
    for batch in (1, 3, 5):
        images = noise_images(batch, done.size)
        wanted = expected_maps(backbone, images, mean, std)
        found = run(done.path, images)
        assert [f.shape for f in found] == [w.shape for w in wanted]
        assert [one.shape for one in done.outputs] == [w.shape[1:] for w in wanted]
        for f, w in zip(found, wanted, strict=True):
            assert np.abs(f - w).max() < 2e-4 * w.std()
    for one in done.outputs:
        assert 0 < one.mean_difference < one.max_difference < 2e-4


def test_relative_positions_at_another_size(with_rel_pos):
    done, backbone, _ = with_rel_pos
    check_maps(done, backbone)
    assert [one.shape for one in done.outputs] == [(32, 17, 18)] * 3
    assert [one.name for one in done.outputs] == ["map0", "map1", "map2"]
    assert done.size_from == "--size" and done.note == ""


def test_tables_are_constants_of_the_size(with_rel_pos):
    done, _, _ = with_rel_pos
    looked_up = {"Resize", "Gather", "GatherElements", "GatherND", "Upsample", "Cos", "Pow"}
    assert not operators(done.path) & looked_up
    shapes = [tuple(t.dims) for t in onnx.load(done.path).graph.initializer]
    assert shapes.count((1, 4, 307, 307)) == 3  # the bias of each block, of 17 * 18 patches and CLS
    assert not any(49 in shape or 52 in shape for shape in shapes)  # 7 * 7 + 3: the tables' rows


def test_file_says_what_it_is(with_rel_pos):
    done, _, checkpoint = with_rel_pos
    found = json.loads(metadata(done.path)["lightvit_bench"])
    assert found == dict(
        kind="encoder",
        format_version=1,
        config="tiny",
        backbone="ViTBackbone",
        preset="vit_test",
        heads=4,
        size=[264, 280],
        image_mean=[round(value / 255, 6) for value in MEAN],
        image_std=[round(value / 255, 6) for value in STD],
        strides=[16, 16, 16],
        checkpoint="iter_8.pth",
        sha256=sha256(checkpoint),
    )
    graph = onnx.load(done.path).graph
    (image,) = graph.input
    dims = [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim]
    assert dims == ["batch", 264, 280, 3]
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    for output in graph.output:
        assert output.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert sorted(p.name for p in done.path.parent.iterdir()) == ["vit.onnx"]


def test_in_brief(with_rel_pos):
    text = in_brief(with_rel_pos[0])
    for part in (
        "vit_test, 4 heads",
        "264, 280",
        "onnxruntime",
        "astronaut",
        "(batch, 32, 17, 18)",
    ):
        assert part in text
    assert f"{with_rel_pos[0].outputs[1].max_difference:.1e}" in text


def test_encoder_file_gives_weights_and_pixels(tmp_path):
    torch.manual_seed(1)
    half = dict(image_mean=(0.5, 0.5, 0.5), image_std=(0.25, 0.25, 0.25))
    encoder = VisionTransformer("vit_test", final_norm=False)
    save_encoder(tmp_path / "start.safetensors", encoder, recipe="mae", **half)
    crop = dict(test_cfg=dict(mode="slide", crop_size=(64, 64), stride=(42, 42)))
    config = write_config(tmp_path, dict(VIT, layer_scale=None), pixels=dict(), **crop)
    done = export_encoder(config, tmp_path / "start.safetensors", tmp_path / "x.onnx")
    assert (done.size, done.size_from) == ((64, 64), "model.test_cfg.crop_size")
    backbone = ViTBackbone("vit_test", out_blocks=(2, 0, 2)).eval()
    backbone.encoder.load_state_dict(encoder.state_dict())
    check_maps(done, backbone, mean=[127.5] * 3, std=[63.75] * 3)
    assert done.sha256 == sha256(tmp_path / "start.safetensors")
    # a config that says other pixels is refused, not believed
    config = write_config(tmp_path, dict(VIT, layer_scale=None))
    with pytest.raises(CheckpointError, match="pixels of another mean"):
        export_encoder(config, tmp_path / "start.safetensors", tmp_path / "y.onnx", size=64)


def test_hiera_whose_patches_overlap(tmp_path):
    config = write_config(tmp_path, HIERA)
    backbone = trained(HIERA, tmp_path / "iter_8.pth")
    done = export_encoder(config, tmp_path / "iter_8.pth", tmp_path / "x.onnx", size=(80, 52))
    check_maps(done, backbone)
    assert [one.shape for one in done.outputs] == [(8, 20, 13), (64, 3, 2)]
    assert [one.stride for one in done.outputs] == [4, 32]
    assert "Resize" not in operators(done.path)
    assert json.loads(metadata(done.path)["lightvit_bench"])["strides"] == [4, 32]


def test_the_encoder_of_a_detector(tmp_path):
    """Windows that are filled up, a global block, decomposed relative positions that matter."""
    backbone = dict(
        type="ViTBackbone",
        preset="vit_test",
        out_blocks=(2,),
        cls_token=False,
        rel_pos="decomposed",
        rel_pos_size=80,
        window=3,
        global_blocks=(2,),
    )
    built = trained(backbone, tmp_path / "iter_8.pth")
    assert built.encoder.blocks[2].attn.rel_pos.rows.abs().max() > 0.1
    config = write_config(tmp_path, backbone)
    done = export_encoder(config, tmp_path / "iter_8.pth", tmp_path / "out.onnx")
    check_maps(done, built)
    assert (done.size, done.size_from) == ((80, 80), "model.backbone.rel_pos_size")


def test_openvino(tmp_path, tiny_config):
    """A whole config of mmsegmentation, with weights that are random."""

    def run(path, images):
        hints = {"INFERENCE_PRECISION_HINT": "f32"}
        return list(core().compile_model(path, "CPU", hints)(images).to_tuple())

    built = []

    def build(cfg, real=module.build_backbone):
        built.append(real(cfg))
        return built[-1]

    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(module, "build_backbone", build)
        done = export_encoder(tiny_config, "random", tmp_path / "x.xml", format="openvino")
    check_maps(done, built[0], run, [123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.bin", "x.xml"]
    assert done.megabytes == pytest.approx(sum(p.stat().st_size for p in tmp_path.iterdir()) / 1e6)
    assert (done.checkpoint, done.sha256) == ("random", None)
    assert "rel_pos=False" in done.note and done.note in in_brief(done)  # its tables are zero
    model = core().read_model(tmp_path / "x.xml")
    found = json.loads(model.get_rt_info(["lightvit_bench"]).astype(str))
    assert (found["kind"], found["size"], found["heads"]) == ("encoder", [64, 64], 4)
    assert model.input("image").partial_shape.to_string() == "[?,64,64,3]"


def test_other_numbers_are_refused_and_leave_nothing(tmp_path, monkeypatch):
    config = write_config(tmp_path, VIT)
    (tmp_path / "old.onnx").write_bytes(b"as it was")

    def wrong(backbone, *arguments):
        fixed = fixed_encoder(backbone, *arguments)
        fixed.backbone.encoder.blocks[1].mlp.fc1.weight.data *= 1.01
        return fixed

    monkeypatch.setattr(module, "fixed_encoder", wrong)
    with pytest.raises(CheckpointError, match=r"(?s)not compute what PyTorch.*map0 by \d") as error:
        export_encoder(config, None, tmp_path / "old.onnx", size=32, overwrite=True)
    assert "map1" not in str(error.value)  # the output of block 0, which is right
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old.onnx", "tiny.py"]
    assert (tmp_path / "old.onnx").read_bytes() == b"as it was"


def test_a_batch_that_is_a_number_is_refused():
    class Fixed(nn.Module):
        def forward(self, x):
            return x.reshape(len(x), -1)

    with pytest.raises(ValueError, match="batch of x is fixed"):
        onnx_graph(Fixed(), {"x": torch.zeros(2, 3, 4)}, ["y"], any_batch=True)


def test_more_than_a_file_holds_is_refused_before_it_is_made():
    backbone = ViTBackbone("vit_test", out_blocks=(2,), rel_pos=True)
    with pytest.raises(ConfigError, match="(?s)would take 12.9 GB.*16,385 tokens.*--size"):
        fixed_encoder(backbone, (2048, 2048), MEAN, STD)


@pytest.mark.parametrize("runtime, format", [("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_missing_runtime_names_the_extra(tmp_path, monkeypatch, runtime, format):
    monkeypatch.setitem(sys.modules, runtime, None)
    suffix = ".onnx" if format == "onnx" else ".xml"
    with pytest.raises(MissingDataError, match=rf"{runtime}(?s:.*)lightvit_bench\[{format}\]"):
        export_encoder(
            write_config(tmp_path, VIT), None, tmp_path / f"x{suffix}", format=format, size=64
        )


def test_missing_exporter_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingDataError, match=r"onnxscript(?s:.*)lightvit_bench\[export\]"):
        export_encoder(write_config(tmp_path, VIT), None, tmp_path / "x.onnx", size=64)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.py"]


WRONG = {
    "format": (dict(format="tflite"), ConfigError, "known: +onnx, openvino"),
    "suffix": (dict(format="openvino"), ConfigError, r"does not end in \.xml"),
    "size": (dict(size=(64, 0)), ConfigError, "(?s)not a size.*--size HEIGHT,WIDTH"),
    "one side": (dict(size=(64,)), ConfigError, "not a size"),
    "fraction": (dict(size=64.5), ConfigError, "not a size"),
    "no size": (dict(), ConfigError, "size of the images is not known"),
    "no pictures": (dict(size=64, crops="."), MissingDataError, "(?s)no pictures.*--crops"),
    "misspelt": (
        dict(size=64, cfg_options=["model.backbone.relpos=True"]), ConfigError, "relpos"
    ),
    "of a pre-training": (
        dict(size=64, cfg_options=["model.backbone.type=None"]), ConfigError, "export_pretrained"
    ),
    "BGR": (
        dict(size=64, cfg_options=["model.data_preprocessor.bgr_to_rgb=False"]),
        ConfigError,
        "takes BGR",
    ),
    "no mean": (
        dict(size=64, cfg_options=["model.data_preprocessor.mean=None"]), ConfigError, "normalised"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        export_encoder(write_config(tmp_path, VIT), None, tmp_path / "x.onnx", **arguments)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.py"]


def test_checkpoints_that_do_not_fit(tmp_path):
    config = write_config(tmp_path, VIT)
    trained(REL_POS, tmp_path / "iter_1.pth")
    with pytest.raises(CheckpointError, match="(?s)does not fit.*unexpected.*rel_pos"):
        export_encoder(config, tmp_path / "iter_1.pth", tmp_path / "x.onnx", size=64)
    torch.save(dict(weights={}), tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="no 'state_dict'"):
        export_encoder(config, tmp_path / "other.pth", tmp_path / "x.onnx", size=64)
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        export_encoder(config, tmp_path / "absent.pth", tmp_path / "x.onnx", size=64)
    (tmp_path / "y.bin").touch()
    with pytest.raises(CheckpointError, match="(?s)there already.*y.bin.*--force"):
        export_encoder(config, None, tmp_path / "y.xml", format="openvino", size=64)


def test_pictures_of_a_folder_are_cut_to_the_size(tmp_path):
    wide = np.zeros((40, 90, 3), np.uint8)
    wide[:, 30:60] = (250, 20, 10)
    for name in ("9.png", "10.png"):
        Image.fromarray(wide).save(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    names, images = load_pictures((40, 30), tmp_path)
    assert names == ("9.png", "10.png")
    assert images.shape == (3, 40, 30, 3) and (images == (250, 20, 10)).all()
    assert load_pictures((120, 30), tmp_path)[1].shape == (3, 120, 30, 3)
    (tmp_path / "9.png").write_bytes((tmp_path / "10.png").read_bytes()[:60])
    with pytest.raises(BadDataError, match="9.png cannot be used"):
        load_pictures((40, 30), tmp_path)
