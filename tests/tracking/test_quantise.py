"""int8: what NNCF quantises of a frame's network, and what stays in floating point."""

import os
import sys

import numpy as np
import pytest
import torch
from tiny_export import network

from lightvit_bench.errors import MissingDataError
from lightvit_bench.tracking.exporting import quantise as module
from lightvit_bench.tracking.exporting import write
from lightvit_bench.tracking.exporting.parity import Bounds, Parity
from lightvit_bench.tracking.exporting.quantise import (
    ALWAYS_FLOAT,
    ATTENTION,
    CHOICE,
    EMBEDDING,
    REGRESSION,
    operations,
    parts_of,
    quantise,
)

FORMATS = ("onnx", "openvino")
CASES = (("conv", "onnx"), ("conv", "openvino"), ("pruned", "openvino"))
BOUNDS = Bounds(20.0, 1.0)
QUANTISED = {"DequantizeLinear", "FakeQuantize"}
PASSING = {"Reshape", "Transpose", "Unsqueeze", "Squeeze"}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small tensors: where cores are busy, threads would wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(kind, format) -> the frame's network, and what calibrates it."""
    for name in ("onnx", "onnxscript", "openvino", "nncf"):
        pytest.importorskip(name)
    import openvino as ov

    models, rng = {}, np.random.default_rng(7)
    for kind in ("conv", "pruned"):
        one = network(kind)
        frame, template = write.graphs(one, (0.45, 0.5, 0.4), (0.25, 0.2, 0.3))
        graph = write.onnx_parts(frame, template, one).frame
        path = tmp_path_factory.mktemp(kind) / "frame.onnx"
        path.write_bytes(graph.SerializeToString())
        tokens = one.template_positions
        items = []
        for _ in range(3):
            item = {
                "template": rng.normal(size=tuple(tokens.shape)).astype(np.float32),
                "search": rng.integers(0, 256, (1, 64, 64, 3), np.uint8),
            }
            if frame.wants_box:
                item["box_wh"] = np.full((1, 2), 0.3, np.float32)
            items.append(item)
        models[kind, "onnx"] = graph, items
        models[kind, "openvino"] = ov.convert_model(path), items
    return models


@pytest.fixture(scope="module")
def default(made):
    """(kind, format) -> what `quantise` gives where its first network will do."""
    return {key: quantise(*made[key], lambda model: parity(0.5), BOUNDS) for key in CASES}


def parity(times: float) -> Parity:
    """One of `times` the bounds."""
    return Parity(4, 4, times * BOUNDS.max_px, times * BOUNDS.mean_px / 2, 1.0, 0.0)


def in_int8(model) -> set[str]:
    """Names of the products whose data comes from a quantiser."""
    found = {one.name: one for one in operations(model)}

    def quantised(name: str) -> bool:
        one = found[name]
        return one.kind in QUANTISED or (one.kind in PASSING and quantised(one.inputs[0]))

    return {
        one.name
        for one in found.values()
        if one.kind in module._PRODUCTS and quantised(one.inputs[0])
    }


@pytest.mark.parametrize("format", FORMATS)
def test_the_parts_of_a_network(made, format):
    blocks = [f"block {i} {part}" for i in range(3) for part in ("attention", "MLP")]
    conv = parts_of(operations(made["conv", format][0]))
    assert set(conv) == {EMBEDDING, ATTENTION, CHOICE, REGRESSION, "head", *blocks}
    assert [name for name in conv if name in blocks] == blocks
    sizes = {name: len(products) for name, products in conv.items()}
    assert sizes[EMBEDDING] == 1
    assert sizes[ATTENTION] == (6 if format == "onnx" else 3)  # OpenVINO makes one of two
    assert sizes[CHOICE] == 2  # the middle token's query, and its row of attention
    assert sizes["block 0 MLP"] == sizes["block 2 MLP"] == 2
    assert sizes["head"] == 5 and sizes[REGRESSION] == 10
    names = [name for products in conv.values() for name in products]
    assert len(names) == len({*names})


def test_a_pruned_network_has_the_same_parts(made):
    for format in FORMATS:
        parts = parts_of(operations(made["pruned", format][0]))
        assert {EMBEDDING, ATTENTION, CHOICE, REGRESSION, "head"} <= set(parts), format
        assert len(parts[CHOICE]) == 2


@pytest.mark.parametrize(("kind", "format"), CASES)
def test_all_is_int8_but_what_is_always_float(made, default, kind, format):
    model, kept = default[kind, format]
    assert kept == ALWAYS_FLOAT
    parts, int8 = parts_of(operations(made[kind, format][0])), in_int8(model)
    for name, products in parts.items():
        if name in kept:
            assert not int8 & {*products}, name
        else:
            assert int8 & {*products}, name
    for name in ("block 0 MLP", "block 1 MLP", "head"):
        assert {*parts[name]} <= int8, name


def test_the_network_given_stays_as_it_is(made, default):
    for key in default:
        assert not in_int8(made[key][0])


def test_more_parts_in_float(made):
    model, items = made["conv", "openvino"]
    parts = parts_of(operations(model))
    wanted = {*parts["block 1 MLP"], *parts["head"]}
    left = in_int8(module._quantised(module._nncf(), model, items, sorted(wanted)))
    assert not left & wanted
    assert {*parts["block 0 MLP"], *parts[EMBEDDING]} <= left


@pytest.fixture
def without_nncf(monkeypatch):
    """`quantise` gives, for a network, the set of the products it leaves in float."""
    monkeypatch.setattr(module, "_nncf", lambda: None)
    monkeypatch.setattr(
        module, "_quantised", lambda nncf, model, items, ignored: (frozenset(ignored), len(items))
    )


@pytest.mark.parametrize("format", FORMATS)
def test_what_the_check_asks_for_is_kept_in_float(made, without_nncf, format):
    model, items = made["conv", format]
    parts = parts_of(operations(model))
    wanted = {name: {*parts[name]} for name in ("block 1 MLP", "head")}
    asked = []

    def judge(tried):
        """Each of the two in int8 costs a bound."""
        asked.append(tried)
        return parity(0.8 + sum(not one <= tried[0] for one in wanted.values()))

    items = [*items] * 20
    (left, calibrated), kept = quantise(model, items, judge, BOUNDS)
    assert set(kept) == {*ALWAYS_FLOAT, *wanted}
    assert left == {one for name in kept for one in parts[name]}
    assert calibrated == len(items)
    assert [count for _, count in asked] == [60] + [module.TRIAL_ITEMS] * 7 + [60] * 2


def test_a_network_within_the_bounds_is_not_searched(made, without_nncf):
    asked = []

    def judge(tried):
        asked.append(tried)
        return parity(1.0)

    assert quantise(*made["conv", "onnx"], judge, BOUNDS)[1] == ALWAYS_FLOAT
    assert len(asked) == 1


def test_the_mean_counts_as_well_as_the_maximum(made, without_nncf):
    model, items = made["conv", "onnx"]
    head = {*parts_of(operations(model))["head"]}

    def judge(tried):
        return Parity(4, 4, 1.0, 0.5 if head <= tried[0] else 1.5, 1.0, 0.0)

    assert quantise(model, items, judge, BOUNDS)[1] == (*ALWAYS_FLOAT, "head")


def test_where_nothing_helps_the_nearest_comes_back_from_a_bounded_search(
    made, without_nncf, monkeypatch
):
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    asked = []

    def judge(tried):
        asked.append(tried)
        return parity({1: float("inf"), 10: 9.0}.get(len(asked), 10.0))

    found, kept = quantise(*made["conv", "onnx"], judge, BOUNDS)
    assert len(asked) == 1 + 7 + 3  # the first, each part alone, and one, two, three together
    assert found is asked[9] and len(kept) == len(ALWAYS_FLOAT) + 2


def test_the_same_arguments_give_the_same_network_without_a_word(made, default, capfd):
    again, _ = quantise(*made["conv", "onnx"], lambda model: parity(0.5), BOUNDS)
    assert again.SerializeToString() == default["conv", "onnx"][0].SerializeToString()
    assert capfd.readouterr() == ("", "")


def test_without_nncf_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingDataError, match=r"pip install 'lightvit_bench\[export\]'"):
        quantise(None, [], lambda model: parity(0.5), BOUNDS)
    assert "NNCF_CI" not in os.environ


def test_nncf_is_imported_with_its_telemetry_off(monkeypatch, tmp_path):
    (tmp_path / "nncf.py").write_text("import os\nseen = os.environ.get('NNCF_CI')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nncf", raising=False)
    monkeypatch.delenv("NNCF_CI", raising=False)
    fake = module._nncf()
    monkeypatch.setitem(sys.modules, "nncf", fake)  # so that what was there comes back
    assert fake.seen == "1"
    assert "NNCF_CI" not in os.environ
