"""Exported trackers in their runtimes, against PyTorch."""

import importlib.util
import logging
from dataclasses import replace

import numpy as np
import onnx
import openvino as ov
import pytest
import torch
from tiny_export import BOX, crops, tiny, traced_once, video

from lightvit_bench.errors import BadDataError, CheckpointError, ConfigError, MissingDataError
from lightvit_bench.openvino_core import core
from lightvit_bench.tracking.exporting import write
from lightvit_bench.tracking.exporting.parity import compare
from lightvit_bench.tracking.runtimes import load, openvino_model
from lightvit_bench.tracking.runtimes.base import is_input, usable_threads
from lightvit_bench.tracking.runtimes.exported import KEY, SEAL_KEY, TEMPLATE_KEY
from lightvit_bench.tracking.runtimes.load import installed, load_model
from lightvit_bench.tracking.tracker import Tracker

FILES = ("conv.xml", "conv.onnx", "conv-any.onnx", "pruned.xml", "pruned-any.onnx")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The path of one of the small exported trackers."""
    return lambda name: tiny(tmp_path_factory, name)


def kind_of(name):
    return name.partition(".")[0].partition("-")[0]


def follow(path, **given):
    tracker, frames = Tracker.from_file(path, **given), video()
    tracker.init(frames[0], BOX)
    return [tracker.update(image) for image in frames[1:]]


# ------------------------------------------------------------------ the same boxes


@pytest.mark.parametrize("name", FILES)
def test_the_boxes_are_pytorchs(file, name):
    expected = follow(file(f"{kind_of(name)}.safetensors"))
    made = follow(file(name), threads=1, precision="fp32")
    for one, other in zip(made, expected, strict=True):
        assert one.box == pytest.approx(other.box, abs=0.05)
        assert one.score == pytest.approx(other.score, abs=1e-3)
        assert one.found == other.found
    assert sum(one.found for one in made) == len(made)
    assert len({one.box for one in made}) == len(made)  # it moves, and not along the edge
    assert all(one.box[0] > 0 for one in made)


@pytest.mark.parametrize("name", ["conv.xml", "conv-any.onnx", "pruned.xml", "pruned-any.onnx"])
def test_several_at_once_are_as_each_alone(file, name):
    model = load_model(file(name), threads=1)
    given = crops(file(f"{kind_of(name)}.safetensors"), 5)
    tokens = [model.embed(one.template) for one in given]
    for count in (3, 1, 5, 3):
        some = slice(5 - count, 5)
        regions = np.stack([one.search for one in given[some]])
        boxes = [one.box_wh for one in given[some]]
        made = model.find_all(tokens[some], regions, boxes)
        model.regions(count)[:] = regions
        again = model.find_all(tokens[some], model.regions(count), boxes)
        backwards = model.find_all(tokens[some][::-1], model.regions(count)[::-1], boxes[::-1])
        for one, other, last, crop in zip(made, again, backwards[::-1], given[some], strict=True):
            for answer in (one, other, last):
                assert answer.box == pytest.approx(crop.answer.box, abs=1e-4)
                assert answer.score == pytest.approx(crop.answer.score, abs=1e-4)


# ------------------------------------------------------------------ no copies


@pytest.mark.parametrize("name", ["conv.xml", "conv-any.onnx", "conv.onnx"])
def test_the_buffer_is_the_networks_input(file, name):
    model = load_model(file(name), threads=1)
    crop = crops(file("conv.safetensors"), 1)[0]
    own = (
        model._request(1).get_tensor("search").data
        if name.endswith("xml")
        else model._inputs[1]["search"] if model._inputs else model.regions(1)
    )  # fmt: skip
    buffer = model.buffer
    assert buffer.shape == (64, 64, 3) and buffer.dtype == np.uint8
    assert np.shares_memory(buffer, own) and np.shares_memory(buffer, model.buffer)
    assert is_input(buffer[None], own) and is_input(own, own) and not is_input(own.copy(), own)
    tokens = model.embed(crop.template)
    buffer[:] = crop.search
    cut = model.find(tokens, model.buffer, crop.box_wh)
    assert np.array_equal(own[0], crop.search)
    buffer[:] = 0
    black = model.find(tokens, model.buffer, crop.box_wh)
    given = model.find(tokens, crop.search, crop.box_wh)  # from elsewhere: copied into it
    assert np.array_equal(own[0], crop.search)
    assert given.score == cut.score != black.score and np.array_equal(given.box, cut.box)


@pytest.mark.parametrize("name", ["conv.xml", "conv.onnx"])
def test_the_tracker_cuts_into_the_buffer(file, name):
    tracker, frames = Tracker.from_file(file(name), threads=1), video(3)
    tracker.init(frames[0], BOX)
    seen = []
    find = tracker.model.find
    tracker.model.find = lambda embedded, search, wh: (
        seen.append(search) or find(embedded, search, wh)
    )
    tracker.update(frames[1])
    assert np.shares_memory(seen[0], tracker.model.buffer)


def test_part_of_an_input_is_not_the_input():
    own = np.zeros((4, 8, 8, 3), np.uint8)
    assert is_input(own, own) and is_input(own[:1], own[:1]) and is_input(own[0][None], own[:1])
    same = np.broadcast_to(own[:1], own.shape)
    for other in (own[::-1], own[1:], own.transpose(0, 2, 1, 3), own.copy(), same):
        assert not is_input(other, own)


@pytest.mark.parametrize("name", ["conv.xml", "conv-any.onnx"])
def test_answers_outlive_the_next_call(file, name):
    model = load_model(file(name), threads=1)
    one, other = crops(file("conv.safetensors"), 2)
    tokens = model.embed(one.template)
    kept, more = tokens.copy(), model.embed(other.template)
    assert np.array_equal(tokens, kept) and not np.array_equal(tokens, more)
    answer = model.find(tokens, one.search, one.box_wh)
    box = answer.box.copy()
    model.find(more, other.search, other.box_wh)
    assert np.array_equal(answer.box, box)


# ------------------------------------------------------------------ threads, precision


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["conv.xml", "conv-any.onnx", "conv.onnx"])
def test_threads_are_set_as_told(file, name, threads):
    model = load_model(file(name), threads=threads)
    assert model.threads == threads
    assert f"{threads} thread" + "s" * (threads > 1) in model.name
    if name.endswith(".xml"):
        for request in (model._request(1), model._request(2), model._template):
            compiled = request.get_compiled_model()
            assert compiled.get_property("INFERENCE_NUM_THREADS") == threads
            assert compiled.get_property("NUM_STREAMS") == 1
    else:
        for session in (*model._sessions.values(), model._template):
            options = session.get_session_options()
            assert options.intra_op_num_threads == threads
            assert options.inter_op_num_threads == 1


def test_threads_by_default(file, monkeypatch):
    assert load_model(file("conv.onnx")).threads == usable_threads()
    for cores, threads in (({0}, 1), ({1, 3}, 2), (set(range(64)), 4)):
        monkeypatch.setattr("os.sched_getaffinity", lambda of: cores)  # noqa: B023
        assert usable_threads() == threads
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert usable_threads() == 1


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, 5000])
def test_threads_that_are_none(file, threads):
    for name in ("conv.xml", "conv.onnx"):
        with pytest.raises(ConfigError, match="threads is a whole number"):
            load_model(file(name), threads=threads)


def hint(model):
    request = model._request(1)
    found = request.get_compiled_model().get_property("INFERENCE_PRECISION_HINT")
    return found.get_type_name()


def test_bf16_where_the_cpu_has_none(file, monkeypatch, caplog):
    monkeypatch.setattr(openvino_model, "has_bfloat16", lambda: False)
    with caplog.at_level(logging.WARNING, "lightvit_bench"):
        model = load_model(file("conv.xml"), precision="bf16", threads=1)
        assert (model.precision, hint(model)) == ("fp32", "f32")
        load_model(file("conv.xml"), precision="fp32", threads=1)
        load_model(file("conv.xml"), threads=1)
    assert [one.message for one in caplog.records] == [
        "this CPU has no bfloat16: conv.xml is computed in fp32."
    ]
    assert "\n" not in caplog.text.strip() and "fp32" in model.name
    expected = follow(file("conv.safetensors"))
    assert follow(file("conv.xml"), precision="bf16")[-1].box == pytest.approx(
        expected[-1].box, abs=0.05
    )


def test_precision_as_the_file_says_or_as_told(file, caplog):
    """What is asked of OpenVINO; whether this machine has bfloat16 is no matter of it."""
    if not openvino_model.has_bfloat16():
        pytest.skip("the CPU has no bfloat16")
    for told, precision, said in (
        (None, "fp32", "f32"),
        ("bf16", "bf16", "bf16"),
        ("fp32",) * 2 + ("f32",),
    ):
        model = load_model(file("conv.xml"), precision=told, threads=1)
        assert (model.precision, hint(model)) == (precision, said)
    assert not caplog.records


def test_onnx_runtime_has_one_precision(file, caplog):
    with caplog.at_level(logging.WARNING, "lightvit_bench"):
        model = load_model(file("conv.onnx"), precision="bf16", threads=1)
    assert model.precision == "fp32" and len(caplog.records) == 1
    assert "in fp32, as it was exported, not in bf16" in caplog.text


def test_pytorch_has_one_precision(file, caplog):
    with caplog.at_level(logging.WARNING, "lightvit_bench"):
        load_model(file("conv.safetensors"), precision="bf16")
    assert len(caplog.records) == 1 and "not in bf16" in caplog.text


# ------------------------------------------------------------------ what does not go together


def test_a_missing_runtime_names_the_extra(file, monkeypatch):
    real = importlib.util.find_spec
    for name, runtime, title, package, others in (
        ("conv.xml", "openvino", "OpenVINO", "lightvit_bench[openvino]", "ONNX Runtime, PyTorch"),
        ("conv.onnx", "onnxruntime", "ONNX Runtime", "lightvit_bench[onnx]", "OpenVINO, PyTorch"),
        ("conv.safetensors", "torch", "PyTorch", "lightvit_bench", "OpenVINO, ONNX Runtime"),
    ):
        path = file(name)
        with monkeypatch.context() as patch:
            patch.setattr(
                load.importlib.util, "find_spec",
                lambda name, *more: None if name == runtime else real(name, *more),  # noqa: B023
            )  # fmt: skip
            assert set(load.RUNTIMES) - set(installed()) == {runtime}
            with pytest.raises(MissingDataError) as caught:
                load_model(path)
        text = str(caught.value)
        assert f"{title} is not installed" in text and f"pip install '{package}'" in text
        assert text.endswith(others)
    monkeypatch.setattr(load.importlib.util, "find_spec", lambda *given: None)
    with pytest.raises(MissingDataError, match="no runtime at all"):
        load_model(file("conv.xml"))
    assert installed() == []


def test_the_extras_exist(repo):
    import configparser

    setup = configparser.ConfigParser()
    setup.read(repo / "setup.cfg")
    for one in load.RUNTIMES.values():
        if one.module != "torch":
            assert one.module in setup["options.extras_require"][one.extra]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (dict(runtime="openvin"), r"no runtime 'openvin'[\s\S]*openvino"),
        (dict(precision="fp16"), "not computed in 'fp16'"),
        (dict(precision="int8"), "at export|export.py"),
        (dict(runtime="onnxruntime"), r"ONNX Runtime does not read conv\.xml[\s\S]*NAME\.onnx"),
        (dict(runtime="torch"), r"PyTorch does not read conv\.xml[\s\S]*were exported"),
    ],
)
def test_what_load_model_does_not_take(file, given, says):
    with pytest.raises(ConfigError, match=says):
        load_model(file("conv.xml"), **given)


def test_a_runtime_that_reads_exported_files_alone():
    with pytest.raises(ConfigError, match=r"does not read tracker weights[\s\S]*NAME\.xml"):
        load_model(None, runtime="openvino")


@pytest.mark.parametrize("name", ["tracker.bin", "tracker.pth", "tracker", "tracker.mp4"])
def test_a_name_that_says_nothing(tmp_path, name):
    with pytest.raises(CheckpointError, match="no tracker's file") as caught:
        load_model(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert ("the .xml beside it" in str(caught.value)) == (name == "tracker.bin")


@pytest.mark.parametrize("name", ["conv.xml", "conv-any.onnx"])
def test_arrays_of_another_shape(file, name):
    model = load_model(file(name), threads=1)
    region, template = np.zeros((64, 64, 3), np.uint8), np.zeros((32, 32, 3), np.uint8)
    tokens = model.embed(template)
    for wrong in (region, template[:16], template.astype(np.float32), template[..., 0]):
        with pytest.raises(BadDataError, match="a template is"):
            model.embed(wrong)
    for wrong in (template, region.astype(np.float32), region[..., :2]):
        with pytest.raises(BadDataError, match="search regions are"):
            model.find(tokens, wrong, (0.2, 0.2))
    with pytest.raises(BadDataError, match="search regions are"):
        model.find_all([tokens] * 3, np.stack([region] * 2), [(0.2, 0.2)] * 3)


# ------------------------------------------------------------------ how many at once


def test_a_file_for_one_target_is_not_asked_for_three(file):
    model = load_model(file("conv.onnx"), threads=1)
    tokens = model.embed(np.zeros((32, 32, 3), np.uint8))
    assert model.can_batch(1) and not model.can_batch(3)
    for ask in (
        lambda: model.regions(3),
        lambda: model.find_all([tokens] * 3, np.zeros((3, 64, 64, 3), np.uint8), [(0.2, 0.2)] * 3),
    ):
        with pytest.raises(ConfigError, match="exported for 1 target at once, not 3"):
            ask()
    assert model.find(tokens, model.buffer, (0.2, 0.2)).score > 0  # as before


def test_a_file_for_three_targets(file):
    """It is compared with PyTorch at export like any other."""
    model = load_model(file("conv-3.onnx"), threads=1)
    assert model.can_batch(3) and not model.can_batch(4) and model.spec.batch == 3
    given = crops(file("conv.safetensors"), 3)
    found = model.find_all(
        [model.embed(one.template) for one in given],
        np.stack([one.search for one in given]),
        [one.box_wh for one in given],
    )
    for answer, crop in zip(found, given, strict=True):
        assert answer.box == pytest.approx(crop.answer.box, abs=1e-4)
    assert compare(model, given).max_px < 0.05  # one at a time: the other rows say nothing
    with pytest.raises(ConfigError, match="exported for 3 targets at once, not 4"):
        model.regions(4)


# ------------------------------------------------------------------ export_model


def test_what_an_onnx_file_holds(file):
    for name, batch in (("conv.onnx", 1), ("conv-any.onnx", "batch"), ("conv-3.onnx", 3)):
        model = onnx.load(file(name))
        onnx.checker.check_model(model, full_check=True)
        assert {one.key for one in model.metadata_props} == {KEY, TEMPLATE_KEY, SEAL_KEY}
        shapes = {
            one.name: [dim.dim_param or dim.dim_value for dim in one.type.tensor_type.shape.dim]
            for one in (*model.graph.input, *model.graph.output)
        }
        assert shapes == {
            "template": [batch, 4, 32], "search": [batch, 64, 64, 3], "cell": [batch],
            "score": [batch], "size": [batch, 2], "offset": [batch, 2],
        }  # fmt: skip
    inputs = onnx.load(file("pruned-any.onnx")).graph.input
    assert [one.name for one in inputs] == ["template", "search", "box_wh"]


def test_what_an_openvino_file_holds(file):
    model = core().read_model(file("conv.xml"))
    shapes = {one.any_name: str(one.partial_shape) for one in (*model.inputs, *model.outputs)}
    assert shapes == {
        "template": "[1,4,32]", "search": "[1,64,64,3]", "image": "[1,32,32,3]", "cell": "[1]",
        "score": "[1]", "size": "[1,2]", "offset": "[1,2]", "tokens": "[1,4,32]",
    }  # fmt: skip
    assert model.has_rt_info(KEY) and model.has_rt_info(SEAL_KEY)
    kinds = {one.get_element_type() for node in model.get_ops() for one in node.outputs()}
    assert ov.Type.f32 in kinds and ov.Type.f16 not in kinds  # OpenVINO's own choice


def test_an_export_is_compared_with_the_bound(file, tmp_path):
    """Boxes half a pixel off are refused; nothing is left, and an older file stays."""
    weights = file("conv.safetensors")
    shift = np.float32([0.005, 0, 0, 0])  # of regions of 100 pixels
    asked = [
        replace(one, answer=one.answer._replace(box=one.answer.box + shift))
        for one in crops(weights)
    ]
    for name, format in (("a.onnx", "onnx"), ("a.xml", "openvino")):
        out = tmp_path / name
        with traced_once("conv"), pytest.raises(CheckpointError, match=r"differ[\s\S]*0.05 px at"):
            write.export_model(weights, out, asked, format=format)
        assert list(tmp_path.iterdir()) == []
        out.write_text("older")
        with traced_once("conv"), pytest.raises(CheckpointError, match="not exported: boxes"):
            write.export_model(weights, out, asked, format=format, overwrite=True)
        assert out.read_text() == "older" and list(tmp_path.iterdir()) == [out]
        out.unlink()
    with traced_once("conv"):
        done = write.export_model(weights, tmp_path / "a.onnx", asked, format="onnx", bound_px=0.51)
    assert done.parity.max_px == pytest.approx(0.5, abs=0.005)
    assert load_model(done.path).spec.parity["max_px"] == pytest.approx(0.5, abs=0.005)


def test_nothing_is_overwritten_unasked(file, tmp_path):
    weights, questions = file("conv.safetensors"), crops(file("conv.safetensors"))
    for present, name, format in (
        ("a.onnx", "a.onnx", "onnx"),
        ("a.xml", "a.xml", "openvino"),
        ("a.bin", "a.xml", "openvino"),
    ):
        (tmp_path / present).write_text("older")
        with pytest.raises(CheckpointError, match="there already") as caught:
            write.export_model(weights, tmp_path / name, questions, format=format)
        assert str(tmp_path / present) in str(caught.value)
        assert (tmp_path / present).read_text() == "older"
        with traced_once("conv"):
            write.export_model(weights, tmp_path / name, questions, format=format, overwrite=True)
        assert load_model(tmp_path / name).spec.recipe == "tiny conv"
        for one in tmp_path.iterdir():
            one.unlink()
