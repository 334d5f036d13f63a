"""Where data and caches lie."""

import os
from pathlib import Path

import pytest

from lightvit_bench.data.roots import cache_root, resolve_root, write_whole


@pytest.mark.parametrize(
    "given, expected",
    [
        ("data/ade/ADEChallengeData2016", "/disk/ade/ADEChallengeData2016"),
        ("./data/camvid", "/disk/camvid"),
        ("data", "/disk"),
        ("/data/ade", "/data/ade"),
        ("database/ade", "database/ade"),
        ("other/data/ade", "other/data/ade"),
        ("../data/ade", "../data/ade"),
    ],
)
def test_only_a_leading_relative_data_folder_is_replaced(monkeypatch, given, expected):
    monkeypatch.setenv("LIGHTVIT_DATA", "/disk")
    assert resolve_root(given) == Path(expected)
    assert resolve_root(Path(given)) == Path(expected)


@pytest.mark.parametrize("value", [None, "", "  "])
def test_without_the_variable_paths_stay(monkeypatch, value):
    monkeypatch.delenv("LIGHTVIT_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("LIGHTVIT_DATA", value)
    assert resolve_root("data/ade") == Path("data/ade")


def test_home_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("LIGHTVIT_DATA", "~/sets")
    assert resolve_root("data/ade") == Path("/home/someone/sets/ade")


def test_cache_root_prefers_the_own_variable_then_xdg_then_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("LIGHTVIT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_root() == Path("/home/someone/.cache/lightvit_bench")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_root() == Path("/xdg/lightvit_bench")
    monkeypatch.setenv("LIGHTVIT_CACHE", "/own")
    assert cache_root() == Path("/own")


def test_write_whole_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "new" / "file.json"
    write_whole(path, "old")
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["file.json"]


def test_write_whole_keeps_the_old_file_when_the_last_step_fails(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_whole(path, "old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.json"]
