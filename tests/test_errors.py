"""Errors say what, where and which knob, on stderr, with exit code 2."""

import errno
import os
import subprocess
import sys

import pytest

from lightvit_bench.errors import MissingDataError, near_matches, printable, run_cli
from lightvit_bench.writing import whole_file


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


@pytest.mark.parametrize("rank", [0, 3])
def test_another_process_gives_its_number_and_waits(monkeypatch, capsys, rank):
    monkeypatch.setenv("RANK", str(rank))
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)
    with pytest.raises(SystemExit):
        run_cli(lambda: (_ for _ in ()).throw(MissingDataError("X", set="A=1")))
    speaker = f"rank {rank}: " if rank else ""
    assert capsys.readouterr().err == f"{speaker}MissingDataError: X\n  set: A=1\n"
    assert len(waited) == (rank != 0)


@pytest.mark.slow
@pytest.mark.parametrize("raising", [{0, 1}, {1}])
def test_under_torchrun_an_error_is_told_once_whoever_meets_it(tmp_path, repo, raising):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\n"
        "from lightvit_bench.errors import ConfigError, run_cli\n"
        "def main():\n"
        f"    if int(os.environ['RANK']) in {raising}:\n"
        "        raise ConfigError('this is wrong')\n"
        "    time.sleep(60)\n"
        "run_cli(main)\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2",
               f"--master-port={29990 + os.getpid() % 40}", str(script)]  # fmt: skip
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(repo)}, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert done.stderr.count("ConfigError: this is wrong") == 1, done.stderr
    assert done.stderr.count("rank 1: ConfigError") == (raising == {1})


CLOSED = """
import argparse, os, subprocess, sys
from lightvit_bench.errors import ConfigError, run_cli

def main():
    if sys.argv[1] == "wrong":
        print("a line")
        raise ConfigError("this is wrong")
    if sys.argv[1] == "pipe":
        print("a line", flush=True)
        raise BrokenPipeError(32, "of a worker")
    if sys.argv[1] == "fault":
        print("a line")
        raise ZeroDivisionError
    if sys.argv[1] == "help":
        argparse.ArgumentParser().parse_args(["--help"])
    for number in range(int(sys.argv[1])):
        print("a line", number)
    return 0

sys.exit(run_cli(main))
"""


@pytest.mark.parametrize(
    "count, unbuffered", [("1", ""), ("50000", ""), ("help", ""), ("1", "1"), ("50000", "1")]
)
def test_a_pipe_that_is_closed_ends_quietly(tmp_path, repo, count, unbuffered):
    """`tool | head -1`: as a shell's tools that SIGPIPE ends, 128 + 13."""
    assert run_closed(tmp_path, repo, count, unbuffered) == (141, "")


def test_a_closed_pipe_hides_no_other_error(tmp_path, repo):
    code, errors = run_closed(tmp_path, repo, "wrong")
    assert (code, errors) == (2, "ConfigError: this is wrong\n")
    code, errors = run_closed(tmp_path, repo, "fault")
    assert code != 141 and "ZeroDivisionError" in errors
    code, errors = run_closed(tmp_path, repo, "pipe", closed=False)
    assert code == 1 and "of a worker" in errors, "our output is read: another pipe broke"


def run_closed(tmp_path, repo, argument, unbuffered="", closed=True):
    """Exit code and stderr of CLOSED where nobody reads its stdout."""
    (tmp_path / "tool.py").write_text(CLOSED)
    reader, writer = os.pipe()
    if closed:
        os.close(reader)
    environment = {**os.environ, "PYTHONPATH": str(repo), "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, str(tmp_path / "tool.py"), argument]
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment
    )
    for end in (writer,) if closed else (writer, reader):
        os.close(end)
    return done.returncode, done.stderr


def test_an_interrupted_tool_ends_with_130_and_a_word(tmp_path, repo):
    (tmp_path / "tool.py").write_text(INTERRUPTED)
    command = [sys.executable, str(tmp_path / "tool.py")]
    for rank, said in (("0", "interrupted\n"), ("1", "")):
        environment = {**os.environ, "PYTHONPATH": str(repo), "RANK": rank}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert (done.returncode, done.stdout, done.stderr) == (130, "a line\n", said)
    environment = {**environment, "LIGHTVIT_TRACEBACK": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert "KeyboardInterrupt" in done.stderr and "in main" in done.stderr


INTERRUPTED = """
import os, signal, sys, time
from lightvit_bench.errors import run_cli

def main():
    print("a line")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)

sys.exit(run_cli(main))
"""


def test_full_disk_is_a_message(tmp_path, capsys):
    """A write that fails does not know its file; `whole_file` does."""

    def main():
        with whole_file(tmp_path / "iter_5.pth"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SystemExit):
        run_cli(main)
    assert f"No space left on device: '{tmp_path / 'iter_5.pth'}'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_names_are_printable_in_one_line():
    name = os.fsdecode(b"dir/caf\xe9 \n\x1b[1m.jpg")
    assert printable(name) == r"dir/caf\udce9 \n\x1b[1m.jpg"
    assert printable("ordinär 日本.jpg") == "ordinär 日本.jpg"


def test_traceback_on_request(monkeypatch):
    monkeypatch.setenv("LIGHTVIT_TRACEBACK", "1")
    with pytest.raises(MissingDataError):
        run_cli(lambda: (_ for _ in ()).throw(MissingDataError("X")))


def test_near_matches_are_the_close_ones_or_all():
    assert near_matches("vit_tinny", ["vit_tiny", "resnet"]) == ["vit_tiny"]
    assert near_matches("zzz", ["b", "a"]) == ["a", "b"]
