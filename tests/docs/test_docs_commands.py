"""Every command of README and docs/ is run here, or says why not and fits its tool all the same."""

from __future__ import annotations

import argparse
import contextlib
import glob
import io
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest
from doc_blocks import Block, Command, blocks_of, brace_expanded, commands, prose_of
from doc_made import MADE, MAKE_TRACKER, STAND_INS, TRACKER
from warm_python import client

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]
LEAST_TOOLS = 14  # that the blocks without a mark run
WARM = Path(__file__).with_name("warm_python.py")

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def shell_blocks(page: Path) -> list[Block]:
    return [block for block in blocks_of(page) if block.is_shell]


def is_run(block: Block) -> bool:
    return block.mark == "" and (block.is_shell or block.language == "python")


# ------------------------------------------------------------------------------- what is read


class Parsed(BaseException):
    """The parser of a tool, thrown where it would read the command line."""


@cache
def parser_of(tool: str) -> argparse.ArgumentParser:
    def stop(parser, *_):
        raise Parsed(parser)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        patch.setattr(sys, "argv", [tool])
        try:
            runpy.run_path(str(ROOT / "tools" / tool), run_name="__main__")
        except Parsed as parsed:
            return parsed.args[0]
    raise AssertionError(f"tools/{tool} has no command line")


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """The options of a parser and of its subcommands."""
    found = set()
    for action in parser._actions:
        found.update(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            found = found.union(*(options_of(one) for one in action.choices.values()))
    return found


def parsed(command: Command) -> argparse.Namespace | str:
    """What a tool's own parser makes of a command, or says against it."""
    words = ["1,2,3,4" if word == "X,Y,W,H" else word for word in command.words[1:]]
    tool = command.tool
    if tool in ("dist_train.sh", "dist_test.sh"):
        at = 1 if tool == "dist_train.sh" else 2  # the number of processes
        if len(words) <= at or not (words[at].isdigit() or words[at].isupper()):
            return "no number of processes"
        del words[at]
        tool = tool[5:-3] + ".py"
    if not (ROOT / "tools" / tool).is_file():
        return "there is no such tool"
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            return parser_of(tool).parse_args(words)
    except SystemExit as end:
        return said.getvalue().strip().splitlines()[-1] if end.code else argparse.Namespace()


@by_page
def test_commands_fit_their_tools(page):
    for block in shell_blocks(page):
        try:
            found = commands(block.text)
        except ValueError as error:
            pytest.fail(f"{block.place}: {error}")
        if block.mark == "":
            done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
            assert done.returncode == 0, f"{block.place}: {done.stderr}"
        for command in found:
            where = f"{block.place}: {command.text}"
            if command.words[0].startswith("tools/"):
                assert not isinstance(said := parsed(command), str), f"{where}: {said}"
            elif command.tool == "make":
                targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
                assert set(command.words[1:]) <= set(targets), where
            elif command.words[1:2] == ("-m",) and command.words[2].startswith("lightvit_bench"):
                module = ROOT / Path(*command.words[2].split("."))
                assert module.with_suffix(".py").is_file() or module.is_dir(), where
            for word in command.words:
                for path in brace_expanded(word):
                    if path.startswith("configs/"):
                        assert glob.glob(str(ROOT / path)), f"{where}: there is no {path}"


@by_page
def test_words_in_the_text_are_of_things_that_exist(page):
    """`tools/x.py --option` and `configs/...` in a sentence."""
    for code in re.findall(r"`([^`\n]+)`", prose_of(page)):
        words = code.split()
        if words[0].startswith("tools/") and words[0].endswith(".py") and "*" not in words[0]:
            tool = words[0].removeprefix("tools/")
            assert (ROOT / words[0]).is_file(), f"{page.name}: {code}"
            given = {word.split("=")[0] for word in words[1:] if word.startswith("--")}
            if given:
                assert given <= options_of(parser_of(tool)), f"{page.name}: {code}"
        if re.fullmatch(r"[\w{},-]+\.py", words[0]):
            for name in brace_expanded(words[0]):
                assert name in names_of_files(page), f"{page.name}: no {name} anywhere"
        for path in brace_expanded(words[0]):
            if re.match(r"(configs|tools|tests|docs|lightvit_bench|records|leaderboard)/\S", path):
                assert "..." in path or glob.glob(str(ROOT / path)), f"{page.name}: no {path}"


@cache
def names_of_files(page: Path) -> set[str]:
    """All Python files of the project, and those that the page has a reader write."""
    folders = ("configs", "lightvit_bench", "tests", "tools")
    found = {path.name for folder in folders for path in (ROOT / folder).rglob("*.py")}
    return found | {block.words for block in blocks_of(page) if block.mark == "file"}


def stays_in_its_folder(command: Command) -> bool:
    """Whether a command may be run: it installs nothing, and writes nothing into the project, which
    some tools find from where they lie."""
    tool, words = command.tool, command.words[1:]
    if tool in ("pip", "demo.py", "install.py"):
        return False
    if tool == "make":
        return set(words) <= {"help", "doctor"}
    if tool == "make_docs.py":
        return "--check" in words
    return tool != "leaderboard.py" or words[0] != "build" or "--out" in words


@by_page
def test_what_is_run_stays_in_its_folder(page):
    for block in shell_blocks(page):
        if is_run(block):
            for command in commands(block.text):
                assert stays_in_its_folder(command), f"{block.place} needs a mark: {command.text}"


def heading_names(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found, seen = set(), {}
    for title in re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        count = seen[name] = seen.get(name, -1) + 1
        found.add(f"{name}-{count}" if count else name)
    return found


@by_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        other = (page.parent / file).resolve() if file else page
        assert other.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in heading_names(other), f"{page.name}: {target}"


def test_pages_hang_together():
    """The index names every page once; each leads back to it and on to the next."""
    index = ROOT / "docs/index.md"
    listed = re.findall(r"^- \[[^\]]+\]\((\w+\.md)\)", index.read_text(), re.MULTILINE)
    assert sorted([*listed, "index.md"]) == [page.name for page in DOCS]
    for name, after in zip(listed, [*listed[1:], "index.md"], strict=True):
        last = (ROOT / "docs" / name).read_text().rstrip().splitlines()[-1]
        assert re.match(r"\[Contents\]\(index\.md\)", last), f"{name} ends with: {last}"
        if after != "index.md":
            assert f"]({after})" in last, f"{name} does not lead on to {after}"


def test_marks_are_before_blocks():
    """No mark is lost between blocks, and none is on a block that is neither run nor a file."""
    for page in PAGES:
        marks = re.findall(r"^<!-- (?:needs|run by|file|output)\b", page.read_text(), re.MULTILINE)
        marked = [block for block in blocks_of(page) if block.mark not in ("", "made")]
        assert len(marked) == len(marks), f"{page.name}: {len(marks)} marks, {len(marked)} blocks"
        for block in marked:
            assert block.words or block.mark == "output", f"{block.place}: {block.mark} what?"
            if block.mark in ("needs", "run by"):
                assert block.is_shell or block.language == "python", block.place
            test = re.search(r"tests/\S+\.py", block.words)
            assert not test or (ROOT / test[0]).is_file(), f"{block.place}: {test}"


def test_enough_is_run():
    tools = {
        command.tool
        for page in PAGES
        for block in shell_blocks(page)
        if is_run(block)
        for command in commands(block.text)
        if command.words[0].startswith("tools/")
    }
    assert len(tools) >= LEAST_TOOLS, sorted(tools)


# --------------------------------------------------------------------------------- what is run


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A folder with a `python3` that needs no time to import, and the log of what it ran."""
    folder = tmp_path_factory.mktemp("warm")
    with tempfile.TemporaryDirectory(prefix="docs") as short:  # a socket's path is short
        socket = f"{short}/socket"
        text = client(sys.executable, socket, str(folder / "log"))
        for name in ("python", "python3"):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        server = subprocess.Popen(
            [sys.executable, str(WARM), socket],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            assert server.stdout.readline() == "ready\n"
            yield folder
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@pytest.fixture
def project(tmp_path):
    """A folder that looks like the project, with its own data/ and work_dirs/."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("tools", "configs", "lightvit_bench", "docs", "leaderboard", "records",
                 "Makefile", "README.md", "setup.cfg", "constraints.txt"):  # fmt: skip
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    (folder / "data").mkdir()
    (folder / "work_dirs").mkdir()
    return folder


KNOWN_OPTIONS = """
import json, sys
from lightvit_bench.errors import UserError
from lightvit_bench.openmmlab.config import load_config
for place, config, options in json.load(open(sys.argv[1])):
    try:
        load_config(config, options)
    except UserError as error:
        print(place, error)
"""


@pytest.mark.slow
def test_options_of_configs_that_are_not_run_exist(warm, tmp_path):
    """`--cfg-options` of blocks with a mark, in the config that they are for."""
    asked = []
    for page in PAGES:
        for block in shell_blocks(page):
            for command in commands(block.text) if block.mark else ():
                if command.words[0].startswith("tools/"):
                    given = vars(parsed(command))
                    config, options = given.get("config") or "", given.get("cfg_options") or ()
                    if (ROOT / config).is_file():
                        asked.append((block.place, str(ROOT / config), list(options)))
    assert len(asked) > 20
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    done = subprocess.run(
        [warm / "python", "-c", KNOWN_OPTIONS, tmp_path / "asked.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout, done.stdout


@pytest.mark.slow
@by_page
def test_blocks_run(page, warm, project, tmp_path):
    blocks = [block for block in blocks_of(page) if block.mark == "file" or is_run(block)]
    if not any(is_run(block) for block in blocks):
        pytest.skip("every command of the page has a mark")
    test_what_is_run_stays_in_its_folder(page)
    for name, make in MADE.items():
        if any(name in block.text for block in blocks):
            make(project / name.partition("/ours ")[0])
    environment = {
        **os.environ,
        "PATH": f"{warm}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LIGHTVIT_DATA": str(project / "data"),
        "LIGHTVIT_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(ROOT),
        "MPLBACKEND": "Agg",
    }
    (project / ".venv/bin").mkdir(parents=True)
    for name in ("python", "python3"):
        (project / ".venv/bin" / name).symlink_to(warm / name)

    if any(f'from_file("{TRACKER}"' in block.text for block in blocks):
        made = warm / "made"
        if not made.exists():  # for the first page that asks
            command = [warm / "python", "-c", MAKE_TRACKER, ROOT / "tests/tracking", made]
            subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True)
        for suffix in (".xml", ".bin"):
            (project / TRACKER).with_suffix(suffix).symlink_to(made / f"conv{suffix}")
    log = warm / "log"
    log.write_text("")
    for block in blocks:
        if block.mark == "file":
            path = project / block.words
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
            continue
        if block.language == "python":
            (project / "block.py").write_text(STAND_INS + block.text)
            script = "python block.py"
        else:
            script = block.text
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", script],
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        said = (done.stdout + done.stderr)[-3000:]
        assert done.returncode == 0, f"{block.place}:\n{block.text}\n{said}"
        assert "Traceback" not in done.stderr, f"{block.place}:\n{said}"

    # each tool did run: a block that ends early would pass for one that worked
    ran = [json.loads(line)[0] for line in log.read_text().splitlines()]
    for block in blocks:
        if is_run(block) and block.is_shell:
            for command in commands(block.text):
                if command.words[0].startswith("tools/"):
                    assert command.words[0] in ran, f"{block.place}: {command.text}"
                    ran.remove(command.words[0])
