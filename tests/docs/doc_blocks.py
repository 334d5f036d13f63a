"""The code blocks of README and docs/, and the commands in them.

A block may have a comment just before it:
    <!-- needs: ADE20K -->      data, a GPU, a checkpoint, a camera, hours: it is read, not run
    <!-- run by: make test -->  something else runs it
    <!-- file: my_config.py --> it is the content of that file, for the blocks behind it
    <!-- output -->             it is what a tool prints or a form to fill in
What stands between the markers of a generated part has the mark "made".
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

MARKER = re.compile(r"<!-- (needs|run by|file|output)(?:: (.+?))? -->")
SHELL = ("", "bash", "sh")
PROGRAMS = ("make", "pip", "source", "python", "python3", "ln", "export", "bash", "cp", "unzip")
_FENCE = re.compile(r"(`{3,}|~{3,})\s*(\w*)")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A code block: its page, the line it begins in, its language ("" of an indented one), its text
    without indentation, and kind and words of the comment before it ("" without one)."""

    page: Path
    line: int
    language: str
    text: str
    mark: str = ""
    words: str = ""

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def is_shell(self) -> bool:
        """Whether it has a command to type."""
        return self.language in SHELL and self.mark != "output" and any(commands(self.text))


@dataclass(frozen=True)
class Command:
    """The words of one command, without assignments before it and without redirections."""

    words: tuple[str, ...]
    text: str

    @property
    def tool(self) -> str:
        """`train.py` of `tools/train.py ...`, else the program's name."""
        return self.words[0].removeprefix("tools/")


def blocks_of(page: Path) -> list[Block]:
    """Fenced and indented blocks in the page's order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found, i = [], 0
    while i < len(lines):
        fence = _FENCE.match(lines[i])
        begins = i == 0 or not lines[i - 1].strip() or bool(MARKER.fullmatch(lines[i - 1].strip()))
        if fence:
            end = i + 1
            while not lines[end].startswith(fence[1]):
                end += 1
            text, language, after = lines[i + 1 : end], fence[2], end + 1
        elif lines[i].startswith("    ") and begins and not _in_list(lines, i):
            end = i
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            text, language, after = [line[4:] for line in lines[i:end]], "", end
        else:
            i += 1
            continue
        kind, words = _mark(lines, i)
        if _is_made(lines[:i]):
            kind, words = "made", "a generated part"
        body = "\n".join(text).strip("\n") + "\n"
        found.append(Block(page, i + 1, language, body, kind, words))
        i = after
    return found


def _in_list(lines: list[str], i: int) -> bool:
    """Whether an indented line goes on with a list's item."""
    above = next((line for line in reversed(lines[:i]) if line.strip()), "")
    return bool(re.match(r"\s*([-*]|\d+\.)\s", above)) or (
        above.startswith("  ") and not above.startswith("    ")
    )


def _mark(lines: list[str], i: int) -> tuple[str, str]:
    above = next((line for line in reversed(lines[:i]) if line.strip()), "")
    found = MARKER.fullmatch(above.strip())
    return (found[1], found[2] or "") if found else ("", "")


def _is_made(above: list[str]) -> bool:
    """Whether what follows lies between the markers of a generated part."""
    count = [sum(line.startswith(f"<!-- {word}: ") for line in above) for word in ("begin", "end")]
    return count[0] > count[1]


def prose_of(page: Path) -> str:
    """The page without its blocks and comments."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for block in blocks_of(page):
        fenced = bool(_FENCE.match(lines[block.line - 1]))
        count = block.text.count("\n") + 2 * fenced
        lines[block.line - 1 : block.line - 1 + count] = [""] * count
    return re.sub(r"<!--.*?-->", "", "\n".join(lines), flags=re.DOTALL)


def commands(text: str) -> list[Command]:
    """The commands of a shell block; lines that are none (a tree of files, a setting) are left out.

    Raises ValueError where a line goes on without a backslash, or quotes do not close.
    """
    found, values, lines = [], {}, text.splitlines()
    i, indented_after = 0, False
    while i < len(lines):
        line = lines[i]
        while line.endswith("\\") and i + 1 < len(lines):
            i += 1
            line = line[:-1] + " " + lines[i].strip()
        heredoc = re.search(r"<<\s*'?(\w+)'?\s*$", line)
        if heredoc:
            while lines[i].strip() != heredoc[1]:
                i += 1
            line = line[: heredoc.start()]
        if not line.strip():
            indented_after = False
        elif line.startswith(" ") and indented_after:
            raise ValueError(f"this line goes on from the one before, without a backslash: {line}")
        for words in _simple(_words(line)):
            while words and (assignment := _ASSIGNMENT.fullmatch(words[0])):
                values[assignment[1]] = assignment[2]
                words = words[1:]
            words = [part for word in words for part in _expanded(word, values)]
            if words and (words[0].startswith(("tools/", ".venv/bin/")) or words[0] in PROGRAMS):
                found.append(Command(tuple(words), line.strip()))
                indented_after = True
        i += 1
    return found


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError as error:
        known = line.strip().startswith(("tools/", ".venv/", *(f"{p} " for p in PROGRAMS)))
        if known:
            raise ValueError(f"{error}: {line}") from None
        return []  # prose or a file's content


def _simple(words: list[str]) -> list[list[str]]:
    """The simple commands of a line, without redirections."""
    parts, skip = [[]], False
    for word in words:
        if word in ("&&", "||", "|", ";"):
            parts.append([])
        elif skip:
            skip = False
        elif word in (">", ">>", "<", "2>"):
            skip = True
        else:
            parts[-1].append(word)
    return parts


def _expanded(word: str, values: dict[str, str]) -> list[str]:
    name = word.removeprefix("$")
    if word.startswith("$") and name in values:
        return values[name].split()
    return [word]


def brace_expanded(path: str) -> list[str]:
    """`a/{b,c}_d` -> `a/b_d`, `a/c_d`, as a shell has it."""
    found = re.search(r"\{([^{}]*,[^{}]*)\}", path)
    if not found:
        return [path]
    return [
        more
        for choice in found[1].split(",")
        for more in brace_expanded(path[: found.start()] + choice + path[found.end() :])
    ]
