"""The JSON Schema of run records, by an independent validator."""

import json
from pathlib import Path

import jsonschema
import pytest

from lightvit_bench.bench.latency import Latency
from lightvit_bench.bench.machine import describe_machine
from lightvit_bench.bench.parts import Curve, ModelSize, Recipe, StoredFiles
from lightvit_bench.bench.record import measured_record, read_records, write_record
from lightvit_bench.bench.schema import record_schema

RECORDS = Path(__file__).resolve().parents[2] / "records"


@pytest.fixture(scope="module")
def validator():
    schema = record_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture
def values(tmp_path):
    """A record with something in every part, as its file has it."""
    one = measured_record(
        *("tracking", "tracker", {"auc": 63.25, "by": {"bag": {"auc": 1}}, "none": None}),
        argv=["tools/test.py"],
        packages=["numpy", "not-there"],
        latency=Latency.of([0.1]),
        recipe=Recipe(head="one-stream"),
        size=ModelSize(macs=5, input="3 x 64 x 64"),
        curves={"success": Curve((0, 1), (1, 0), "x", "y")},
        predictions=StoredFiles("tracks", "boxes", 1, "12" * 32, {"rule": "toolkit", "n": 1}),
        remarks=("one",),
        expected=3,
        evaluated=3,
    )
    return json.loads(write_record(one, tmp_path).read_text())


def test_records_are_valid(validator, values):
    validator.validate(values)
    values["machine"] = values["latency"] = None
    validator.validate(values)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda v: v.update(speed=1),
        lambda v: v.pop("split"),
        lambda v: v.update(threads="2"),
        lambda v: v.update(origin="guessed"),
        lambda v: v.update(format_version=3),
        lambda v: v.update(date="yesterday"),
        lambda v: v.update(commit="main"),
        lambda v: v["machine"].update(host="x"),
        lambda v: v["machine"].update(load=[1.0]),
        lambda v: v["values"].update(auc="high"),
        lambda v: v["values"]["by"]["bag"].update(auc=[1]),
        lambda v: v["curves"]["success"].pop("y_label"),
        lambda v: v["predictions"]["options"].update(n=1.5),
        lambda v: v.update(remarks="one"),
        lambda v: v.pop("sha256"),
    ],
)
def test_other_files_are_not(validator, values, spoil):
    spoil(values)
    assert not validator.is_valid(values)


def test_the_projects_records_are_valid(validator):
    read = read_records(RECORDS)
    newest = [one for one in read if one.format_version == 2]
    for one in newest:
        validator.validate({**one.as_dict(), "sha256": "0" * 64})
