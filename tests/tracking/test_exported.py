"""What an exported tracker says about itself, and files that were damaged."""

import json
import re
import shutil
from dataclasses import fields

import numpy as np
import onnx
import openvino as ov
import pytest
from tiny_export import SETTINGS, tiny

from lightvit_bench.checkpoint import sha256
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.tracking.answers import Settings
from lightvit_bench.tracking.exporting.write import export_model
from lightvit_bench.tracking.runtimes import exported, openvino_model
from lightvit_bench.tracking.runtimes.exported import Exported, check_weights, from_json
from lightvit_bench.tracking.runtimes.load import load_model

ABOUT = Exported(
    template_size=112, search_size=224, template_factor=2.5, search_factor=4.25,
    template_tokens=49, width=192, grid=14, wants_box=True, batch=3, precision="int8",
    settings=Settings(found_above=0.3, hold=False, flat_below=7), source="ab" * 32,
    recipe="a recipe \u00e9 \"quoted\" <&>", data="some data", weights="cd" * 32, size=12345,
    parity={"frames": 7, "max_px": 0.25}, kept_float=("head", "block 0"),
    made_with={"openvino": "1.2", "torch": "3.4"},
)  # fmt: skip


def changed(**changes):
    return json.dumps({**json.loads(ABOUT.to_json()), **changes})


def refused(call, file, *says):
    """The error of a call, which names the file."""
    with pytest.raises(CheckpointError) as caught:
        call()
    text = str(caught.value)
    assert str(file) in text
    for one in says:
        assert re.search(one, text), text
    return text


# ------------------------------------------------------------------ the text


def test_what_was_written_is_read(tmp_path):
    assert from_json(ABOUT.to_json(), tmp_path) == ABOUT


def test_every_field_is_needed_and_no_other(tmp_path):
    path, values = tmp_path / "x.xml", json.loads(ABOUT.to_json())
    assert set(values) == {one.name for one in fields(Exported)}
    for name in values:
        rest = json.dumps({key: value for key, value in values.items() if key != name})
        refused(lambda: from_json(rest, path), path)  # noqa: B023
    refused(lambda: from_json(changed(more=1), path), path, "damaged", "more")
    settings = {**values["settings"], "more": 1}
    refused(lambda: from_json(changed(settings=settings), path), path, "damaged")


NO_NUMBER = (None, "1", True, [], float("nan"), -1)
BAD = {
    **{name: (*NO_NUMBER, 1.5, 10**6) for name in
       ("template_size", "search_size", "template_tokens", "width", "grid", "batch")},
    **{name: (*NO_NUMBER, 0, 11) for name in ("template_factor", "search_factor")},
    **{name: (None, 1, [], {}) for name in ("precision", "source", "recipe", "data", "weights")},
    "size": (*NO_NUMBER, 1.5), "wants_box": (None, 0, "true"),
    "settings": (None, [], 1, {"found_above": 2}, {"hold": 1}, {"flat_below": -1}),
    "parity": (None, [], 1), "kept_float": (None, "head", 1, {}), "made_with": (None, [], "x"),
    "kind": (None, "tracker", 1), "format_version": (None, "1", True, 0, -1, 1.5),
}  # fmt: skip


@pytest.mark.parametrize("name", [one.name for one in fields(Exported)])
def test_a_damaged_field_is_told(tmp_path, name):
    path = tmp_path / "x.xml"
    for value in BAD[name]:
        refused(lambda: from_json(changed(**{name: value}), path), path)  # noqa: B023
    if name == "precision":
        refused(lambda: from_json(changed(precision="fp16"), path), path, "fp32, bf16, int8")


@pytest.mark.parametrize("text", ["{", "[]", "1", "null", '"x"', "[" * 100_000, "{}\x00", "\ud800"])
def test_text_that_is_no_manifest(tmp_path, text):
    refused(lambda: from_json(text, tmp_path / "x.xml"), tmp_path / "x.xml")


@pytest.mark.parametrize("text", [None, ""])
def test_a_model_of_someone_else(tmp_path, text):
    refused(lambda: from_json(text, tmp_path / "x.xml"), tmp_path / "x.xml", "not exported by")


def test_another_kind_is_named(tmp_path):
    says = refused(lambda: from_json(changed(kind="exported-encoder"), tmp_path), tmp_path)
    assert "exported-encoder, not an exported tracker" in says


def test_a_later_version_asks_for_a_later_program(tmp_path):
    text = changed(format_version=2, invented=[1, 2])
    says = refused(lambda: from_json(text, tmp_path), tmp_path, "version 2", "reads version 1")
    assert "update lightvit_bench" in says and "openvino 1.2, torch 3.4" in says
    for odd in (None, "x"):
        refused(lambda: from_json(changed(format_version=2, made_with=odd), tmp_path), tmp_path)  # noqa: B023


def test_an_earlier_version_asks_for_a_new_export(tmp_path, monkeypatch):
    monkeypatch.setattr(exported, "FORMAT_VERSION", 2)
    says = refused(lambda: from_json(ABOUT.to_json(), tmp_path), tmp_path, "version 1", "export it")
    assert "update" not in says


# ------------------------------------------------------------------ files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return {name: tiny(tmp_path_factory, name) for name in ("conv.xml", "conv-any.onnx")}


@pytest.fixture
def copy(files, tmp_path):
    """A copy of an exported tracker, to be damaged."""

    def of(name):
        shutil.copy(files[name], tmp_path)
        if name.endswith(".xml"):
            shutil.copy(files[name].with_suffix(".bin"), tmp_path)
        return tmp_path / name

    return of


def flip(path, at):
    """Change one byte; a negative place counts from the end."""
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["conv.xml", "conv-any.onnx"])
def test_what_a_file_says(files, tmp_path_factory, name):
    about = load_model(files[name]).spec
    assert (about.template_size, about.search_size, about.grid) == (32, 64, 4)
    assert (about.template_factor, about.search_factor) == (2.0, 4.0)
    assert (about.template_tokens, about.width, about.wants_box) == (4, 32, False)
    assert (about.batch, about.precision) == (0 if "any" in name else 1, "fp32")
    assert (about.recipe, about.data, about.settings) == ("tiny conv", "nothing", SETTINGS)
    assert about.source == sha256(tiny(tmp_path_factory, "conv.safetensors"))
    assert about.parity["frames"] == 3 and 0 <= about.parity["max_px"] < 0.05
    runtime = "openvino" if name.endswith("xml") else "onnxruntime"
    assert {"torch", "onnx", "lightvit_bench", runtime} == set(about.made_with)


def test_a_file_that_is_not_there(tmp_path, copy):
    for name in ("no.xml", "no.onnx"):
        refused(lambda: load_model(tmp_path / name), tmp_path / name, "not there")  # noqa: B023
    (tmp_path / "folder.onnx").mkdir()
    refused(lambda: load_model(tmp_path / "folder.onnx"), tmp_path / "folder.onnx")


def test_weights_that_are_not_there(copy):
    path = copy("conv.xml")
    path.with_suffix(".bin").unlink()
    says = refused(lambda: load_model(path), path.with_suffix(".bin"), "lost its weights")
    assert "conv.xml and conv.bin, side by side" in says


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("name", ["conv.xml", "conv.bin", "conv-any.onnx"])
def test_a_truncated_file(copy, name, share):
    path = copy("conv.xml" if name == "conv.bin" else name)
    part = path.with_name(name)
    content = part.read_bytes()
    part.write_bytes(content[: int(share * len(content))])
    refused(lambda: load_model(path), path.with_suffix(""))


@pytest.mark.parametrize("share", [0.001, 0.3, 0.6, 0.999])
def test_flipped_weights_of_openvino(copy, share):
    path = copy("conv.xml")
    weights = path.with_suffix(".bin")
    flip(weights, int(share * weights.stat().st_size))
    refused(lambda: load_model(path), weights, "not those that were written")


def test_flipped_weights_of_onnx(copy, files):
    """Wherever a byte of network or weights changes; in the template's part as well."""
    clean = files["conv-any.onnx"].read_bytes()
    inside = load_model(files["conv-any.onnx"]).spec.size
    places = [*np.linspace(0, inside - 1, 9).astype(int)]
    template = clean.index(b"lightvit_bench.template")
    assert inside < template
    places += [template + 3, *np.linspace(template + 2000, len(clean) - 1, 6).astype(int)]
    for at in places:
        path = copy("conv-any.onnx")
        flip(path, at)
        refused(lambda: load_model(path), path)  # noqa: B023


def test_metadata_that_is_no_text(copy):
    path = copy("conv-any.onnx")
    content = path.read_bytes()
    at = content.index(b"nothing", load_model(path).spec.size)
    path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    refused(lambda: load_model(path), path, "metadata is no text")


def test_a_digit_of_the_network_or_of_what_it_says(copy):
    """As good a number as before, in a file that every reader takes."""
    for name, clean, other in (
        ("conv.xml", b'eps="9.99', b'eps="8.99'),
        ("conv.xml", b"template_factor&quot;: 2.0", b"template_factor&quot;: 2.1"),
        ("conv-any.onnx", b'"search_factor": 4.0', b'"search_factor": 4.1'),
    ):
        path = copy(name)
        content = path.read_bytes()
        assert content.count(clean) >= 1 and len(clean) == len(other)
        path.write_bytes(content.replace(clean, other, 1))
        refused(lambda: load_model(path), path, "is not what was written")  # noqa: B023


def test_weights_of_another_export(copy):
    """Both files are whole, and do not belong together."""
    path = copy("conv.xml")
    content = bytearray(path.with_suffix(".bin").read_bytes())
    content[-4:] = np.float32(1.5).tobytes()
    path.with_suffix(".bin").write_bytes(content)
    refused(lambda: load_model(path), path.with_suffix(".bin"), "not those that were written")


def test_a_file_renamed_to_the_other_runtime(copy):
    xml, onnx_file = copy("conv.xml"), copy("conv-any.onnx")
    other = xml.with_name("other.onnx")
    shutil.copy(xml, other)
    refused(lambda: load_model(other), other, "cannot be read")
    other = xml.with_name("other.xml")
    shutil.copy(onnx_file, other)
    shutil.copy(xml.with_suffix(".bin"), other.with_suffix(".bin"))
    refused(lambda: load_model(other), other)  # OpenVINO reads ONNX whatever its name


def test_models_that_are_no_trackers(tmp_path):
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 2])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 2])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "a.onnx"
    )
    given = ov.opset13.parameter([1, 2], ov.Type.f32)
    ov.save_model(ov.Model([ov.opset13.relu(given)], [given]), tmp_path / "a.xml")
    for name in ("a.onnx", "a.xml"):
        refused(lambda: load_model(tmp_path / name), tmp_path / name, "was not exported by")  # noqa: B023


def test_a_manifest_on_another_network(files, tmp_path):
    """One that lacks what a tracker is asked for."""
    about = load_model(files["conv.xml"]).spec
    given = ov.opset13.parameter([1, 2], ov.Type.f32, "search")
    model = ov.Model([ov.opset13.relu(given)], [given])
    ov.save_model(model, tmp_path / "a.xml")
    weights = tmp_path / "a.bin"
    weights.touch()
    about = json.loads(about.to_json())
    about.update(weights=sha256(weights), size=weights.stat().st_size)
    text = json.dumps(about)
    model.set_rt_info(text, exported.KEY)
    ov.save_model(model, tmp_path / "a.xml")
    sealed = exported.seal(text, openvino_model.network_of(tmp_path / "a.xml"))
    model.set_rt_info(sealed, exported.SEAL_KEY)
    ov.save_model(model, tmp_path / "a.xml")
    refused(lambda: load_model(tmp_path / "a.xml"), tmp_path / "a.xml", "inputs or outputs")


def test_a_digest_of_a_part(tmp_path):
    path = tmp_path / "w"
    content = bytes(range(256)) * 9000  # more than a block
    path.write_bytes(content)
    whole = Exported(**{**ABOUT.__dict__, "weights": sha256(path), "size": len(content)})
    check_weights(path, whole)
    path.write_bytes(content + b"behind")
    check_weights(path, whole)
    for other in (content[:-1], b"", b"behind" + content):
        path.write_bytes(other)
        refused(lambda: check_weights(path, whole), path)


# ------------------------------------------------------------------ writing


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("a.onnx", dict(format="onnx", precision="bf16"), "no bf16"),
        ("a.onnx", dict(format="openvino"), "no name for openvino"),
        ("a.xml", dict(format="onnx"), "no name for onnx"),
        ("a.xml", dict(format="tflite"), "no format 'tflite'"),
        ("a.xml", dict(precision="fp8"), "no precision 'fp8'"),
    ],
)
def test_what_does_not_go_together(tmp_path, name, given, says):
    with pytest.raises(ConfigError, match=says):
        export_model(tmp_path / "none.safetensors", tmp_path / name, [], **given)
    assert not list(tmp_path.iterdir())
