"""Errors say what, where and which knob, on stderr, with exit code 2."""

import pytest

from lightvit_bench.errors import MissingDataError, near_matches, run_cli


def test_details_are_aligned_below_the_message():
    error = MissingDataError("X not found.", looked_for="data/x", set=["A=1", "--b"])
    assert str(error) == (
        "X not found.\n  looked for: data/x\n  set:        A=1\n              --b"
    )


def test_tools_exit_with_two_and_no_traceback(capsys):
    def main():
        raise MissingDataError("X not found.")

    with pytest.raises(SystemExit) as exit_:
        run_cli(main)
    assert exit_.value.code == 2
    assert capsys.readouterr().err == "MissingDataError: X not found.\n"


def test_refused_files_are_messages_and_other_system_errors_are_not(capsys):
    with pytest.raises(SystemExit):
        run_cli(lambda: open("/absent/file"))
    assert "'/absent/file'" in capsys.readouterr().err
    with pytest.raises(OSError):
        run_cli(lambda: (_ for _ in ()).throw(OSError("no file concerned")))


def test_one_process_of_several_speaks(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit):
        run_cli(lambda: (_ for _ in ()).throw(MissingDataError("X")))
    assert capsys.readouterr().err == ""


def test_traceback_on_request(monkeypatch):
    monkeypatch.setenv("LIGHTVIT_TRACEBACK", "1")
    with pytest.raises(MissingDataError):
        run_cli(lambda: (_ for _ in ()).throw(MissingDataError("X")))


def test_near_matches_are_the_close_ones_or_all():
    assert near_matches("vit_tinny", ["vit_tiny", "resnet"]) == ["vit_tiny"]
    assert near_matches("zzz", ["b", "a"]) == ["a", "b"]
