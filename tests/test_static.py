"""The design's import rules, read from the sources."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PACKAGE = ROOT / "lightvit_bench"
MODULES = sorted(PACKAGE.rglob("*.py"))
MM = {"mmengine", "mmcv", "mmdet", "mmseg"}
# Folder -> what its modules may not import, besides the rules for everybody below.
FORBIDDEN = {
    "errors.py": {"torch", "timm", "numpy", *MM},
    "cli.py": {"torch", "timm", "numpy", *MM},
    "writing.py": {"torch", "timm", "numpy", *MM},
    "compat.py": set(),
    "vit": MM,
    "checkpoint": MM,
    "data": {"torch", "timm", *MM},
    "metrics": {"torch", "timm", *MM},
    "bench": MM,
    "leaderboard": {"torch", "timm", *MM},
    "verification": {"torch", "timm", *MM},
}
TASKS = {"segmentation", "detection", "pretrain", "tracking"}
# Our own packages that each may import (the flow of DESIGN.md, left to right).
MAY_USE = {
    "vit": {"errors", "compat", "vit"},
    "checkpoint": {"errors", "writing", "vit", "checkpoint"},
    "data": {"errors", "writing", "data"},
    "metrics": {"errors", "metrics"},
    "bench": {"errors", "writing", "bench"},
    "leaderboard": {"errors", "writing", "bench", "leaderboard"},
    # of tracking: `judging` alone, see below
    "verification": {"errors", "bench", "data", "metrics", "tracking", "verification"},
}


def imports(path):
    """Full dotted names of all modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            if node.module == "lightvit_bench":
                yield from (f"lightvit_bench.{alias.name}" for alias in node.names)


def part(path):
    return path.relative_to(PACKAGE).parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_import_rules(path):
    names = list(imports(path))
    roots = {name.split(".")[0] for name in names}
    own = {name.split(".")[1] for name in names if name.startswith("lightvit_bench.")}
    folder = part(path)
    if path.name != "doctor.py":  # whose job is to try the imports
        assert not roots & FORBIDDEN.get(folder, set())
    assert "tools" not in roots
    assert own <= MAY_USE.get(folder, own)
    if folder == "verification":
        tracking = [name for name in names if name.startswith("lightvit_bench.tracking")]
        assert all(name.startswith("lightvit_bench.tracking.judging.") for name in tracking)
    if folder in TASKS:
        assert not own & (TASKS - {folder})


def test_the_rules_see_the_package():
    assert len(MODULES) > 20
    assert set(MAY_USE) <= {part(path) for path in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_stay_small_and_documented(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert max(map(len, text.splitlines()), default=0) <= 100
    assert ast.get_docstring(ast.parse(text)), "a module says what it is for"


def test_test_files_have_names_of_their_own():
    """pytest imports two files of one name as one module, and fails."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert {name for name in names if names.count(name) > 1} == set()


def test_nothing_of_this_machine_is_named():
    """No home or work folder of whoever wrote a file."""
    folders = re.compile(r"/(root|work|Users)/\w")
    files = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in ("lightvit_bench", "configs", "tools", "docs", "tests", "leaderboard", "records"):
        files += (ROOT / folder).rglob("*")
    kinds = {".py", ".sh", ".md", ".cfg", ".toml", ".txt", ".yml", ".json", ".csv", ".html", ""}
    texts = [path for path in files if path.suffix in kinds]
    for path in texts:
        if path.is_file() and path.name not in (".git",):
            found = folders.search(path.read_text(errors="replace"))
            assert not found, f"{path}: {found}"


def test_documents_point_to_what_is_there():
    """Links and pictures of README and docs, and no placeholder left."""
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        text = path.read_text()
        assert not re.search(r"^[A-Z]{4,}$", text, re.MULTILINE), f"{path}: a placeholder"
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path}: {target}"
