"""Data sets by name."""

import inspect
import re

import pytest
from tracking_files import lasot_sequence, write_files

from lightvit_bench.data.tracking_sets import SETS, open_set
from lightvit_bench.errors import ConfigError, MissingDataError


@pytest.mark.parametrize("name", SETS)
def test_a_missing_folder_says_what_to_do(name, tmp_path, repo):
    with pytest.raises(MissingDataError) as caught:
        open_set(name, tmp_path / "absent")
    text = str(caught.value)
    assert str(tmp_path / "absent") in text and "LIGHTVIT_DATA" in text
    anchor = re.search(r"docs/datasets.md#([\w-]+)", text).group(1)
    titles = re.findall(r"^#+ (.*)$", (repo / "docs/datasets.md").read_text(), re.MULTILINE)
    assert anchor in [title.lower().replace(" ", "-") for title in titles]


@pytest.mark.parametrize("name", SETS)
def test_the_table_tells_the_truth(name, tmp_path):
    chosen = SETS[name]
    assert chosen.protocol in (None, *chosen.splits)
    for option in ("expect_all", "say"):
        assert option in inspect.signature(chosen.open).parameters
    for split in chosen.splits:  # each is known to the reader: what it misses is the data
        with pytest.raises(MissingDataError):
            chosen.open(tmp_path, split)


def test_wrong_names(tmp_path):
    with pytest.raises(ConfigError, match="lasot"):
        open_set("lassot", tmp_path)
    with pytest.raises(ConfigError, match="train, test, all|train"):
        open_set("lasot", tmp_path, "val")
    with pytest.raises(ConfigError, match="'chunks'"):
        open_set("lasot", tmp_path, "test", chunks=[1])


def test_the_place_of_all_data_and_options(tmp_path, monkeypatch):
    write_files(tmp_path / "lasot", lasot_sequence("cup-1") | lasot_sequence("cup-2"))
    monkeypatch.setenv("LIGHTVIT_DATA", str(tmp_path))
    said = []
    assert [s.name for s in open_set("lasot", "data/lasot", say=said.append)] == ["cup-1"]
    assert [s.name for s in open_set("lasot", "data/lasot", "train", say=said.append)] == ["cup-2"]
    assert len(said) == 2


def test_messages_go_to_stderr_by_default(tmp_path, capsys):
    write_files(tmp_path, lasot_sequence("cup-1"))
    open_set("lasot", tmp_path)
    captured = capsys.readouterr()
    assert "1 of the 280" in captured.err and not captured.out
