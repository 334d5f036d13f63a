"""Where a figure comes from: the files, the commit and the command, with no folder of a person's.

Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightvit_bench.errors import printable

RECORDS = "records"  # the folder of run records beside the package, in version control
ROOT = Path(__file__).resolve().parents[2]  # of the checkout


def sha256_of(path: str | os.PathLike) -> str:
    """A file's SHA-256 in hexadecimal digits, for `checkpoint_sha256`."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def sha256_of_files(files: Mapping[str, str | os.PathLike]) -> str:
    """One SHA-256 of several files, name -> path: of names and contents, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{sha256_of(files[name])}\n".encode())
    return digest.hexdigest()


def git_commit(root: str | os.PathLike = ROOT) -> str | None:
    """The commit of the checkout at `root`, "+changes" behind it if files differ from it.

    Files that git does not know count, for a new module changes what is computed; those in
    `records/` do not, or a benchmark's second run would differ from its first. None without git, or
    where `root` is no checkout of its own (a package installed below somebody else's, say).
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments],
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != Path(root).resolve():
            return None
        commit = git("rev-parse", "HEAD")
        changes = git("status", "--porcelain", "--", ".", f":(exclude){RECORDS}")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changes else commit


def command_line(argv: Sequence[str] | None = None, root: str | os.PathLike = ROOT) -> str:
    """The command that runs, as a person would type it in the project's folder.

    Paths that are absolute, begin with a "~" or go up by ".." become `shown_path`s: a whole
    argument, and parts of one in quotes, after a space, "=", ":", "," or a bracket, `file://...`
    among them.
    """
    tool, *arguments = sys.argv if argv is None else argv
    shown = [shown_path(Path(tool).absolute(), root)]
    shown += [_shown_argument(argument, root) for argument in arguments]
    return " ".join(shlex.quote(printable(part)) for part in shown)


_ENDS = r"=:,;|()\[\]{}<>'\""  # what a path in an argument ends at
# A folder's name may hold brackets and quotes: they are a part of it where a "/" follows.
_BODY = (
    rf"(?:[^{_ENDS}]|\([^()/]*\)(?=[^{_ENDS}]*/)|\[[^\[\]/]*\](?=[^{_ENDS}]*/)|(?<=\w)'(?=\w+/))*"
)
_STEP = rf"[^\s/{_ENDS}]+/"
_PATH = re.compile(
    rf"""
    (?P<quote>['"])(?P<inner>(?:file://|/|~|\.\./|(?:{_STEP})+\.\.(?:/|(?P=quote)))  # 'a path'
        (?:(?!(?P=quote)).)*)(?P=quote)
    | file://(?P<url>/{_BODY})
    | (?:^|(?<=[{_ENDS}\s@+`])|(?<=^-[A-Za-z]))(?P<bare>
        (?:(?<!:)/+|(?<=:)/(?!/)|~[\w.-]*/){_BODY}
        | (?:{_STEP})*\.\.(?:/{_BODY}|(?=$|[{_ENDS}\s]))
      )
    """,
    re.VERBOSE,
)


def _shown_argument(argument: str, root: str | os.PathLike) -> str:
    if os.path.isabs(argument) or argument.startswith("~"):
        return shown_path(argument, root)

    def shown(at: re.Match[str]) -> str:
        if at["quote"]:
            inner = at["inner"]
            quoted = f"file://{shown_path(inner[7:], root)}" if inner.startswith("file://") else ""
            return f"{at['quote']}{quoted or shown_path(inner, root)}{at['quote']}"
        if at["url"]:
            return f"file://{shown_path(at['url'], root)}"
        return shown_path(at["bare"], root)

    return _PATH.sub(shown, argument)


def shown_path(path: str | os.PathLike, root: str | os.PathLike = ROOT) -> str:
    """A path for others: relative to the project, or `.../NAME` where it is outside.

    A relative path stays as it is, unless it goes up (".."): then it is taken from the current
    folder, as the system does. "~" is a folder outside.
    """
    path = Path(path)
    if path.parts[:1] and path.parts[0].startswith("~"):
        return f".../{path.name}" if len(path.parts) > 1 else "..."
    if not path.is_absolute() and ".." not in path.parts:
        return str(path)
    path = Path(os.path.normpath(Path.cwd() / path))  # what only seems to lie in the project
    for base, one in ((Path(root), path), (Path(root).resolve(), path.resolve())):
        if one.is_relative_to(base):
            return str(one.relative_to(base))
    return f".../{path.name}"
