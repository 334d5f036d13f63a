"""Check that the images an annotation file names are there, decode, and have the size it says.

Boxes and masks are in an image's pixels: one of another size than the annotations were drawn on
is worse than one that is missing. Every file is decoded once; the outcome is kept as
`seg_folder.scan` keeps it, under the same folder.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightvit_bench.data.roots import cache_root, write_whole
from lightvit_bench.data.seg_check import (
    CORRUPT_IMAGE,
    EMPTY_FILE,
    REMEDY,
    SIZES_DIFFER,
    UNREADABLE,
    DecodeError,
    decode,
    shown_hw,
)
from lightvit_bench.data.seg_folder import (
    ABSENT,
    check_all,
    file_state,
    files_key,
    progress_line,
)
from lightvit_bench.errors import BadDataError, MissingDataError, printable

MISSING = "missing image"
SKIPPABLE = frozenset({MISSING, CORRUPT_IMAGE, EMPTY_FILE})

# Part of the cache key: raise it when the checks change, and old outcomes are forgotten.
_VERSION = "coco images 1"
_NAMED = 10
_REMEDY = {
    **REMEDY,
    MISSING: "missing images: complete the copy, or point data_prefix.img to their folder",
    SIZES_DIFFER: "sizes: use the images that the annotations were drawn on, neither resized "
    "nor turned",
}


@dataclass(frozen=True)
class ImageProblem:
    """One image that cannot be used: its place in the list, a kind of this module, and why."""

    row: int
    kind: str
    detail: str


@dataclass(frozen=True)
class ImagesReport:
    """What `scan_images` found. from_cache: nothing was decoded, an earlier scan was read."""

    paths: tuple[str, ...]
    problems: tuple[ImageProblem, ...]
    from_cache: bool

    @property
    def skipped(self) -> list[ImageProblem]:
        """The missing, corrupt and empty images: those that `skip_corrupt=True` leaves out."""
        return [problem for problem in self.problems if problem.kind in SKIPPABLE]

    def named(self, problems: Sequence[ImageProblem]) -> list[str]:
        """A line for each of the first few problems, and how many more there are."""
        lines = [f"{printable(self.paths[p.row])}: {p.kind}, {p.detail}" for p in problems[:_NAMED]]
        more = len(problems) - _NAMED
        return lines + [f"and {more:,} more"] * (more > 0)

    def require_clean(self, title: str, *, skip_corrupt: bool = False) -> list[int]:
        """The rows of the images that can be used.

        `skip_corrupt` forgives missing, corrupt and empty files, not when nothing would be left.

        Raises:
            MissingDataError: not one of the images is there.
            BadDataError: some cannot be used; it names the first few and what to do.
        """
        total, kinds = len(self.paths), Counter(problem.kind for problem in self.problems)
        if total and kinds[MISSING] == total:
            raise MissingDataError(
                f"{title}: none of its {total:,} images is there.",
                looked_for=[*map(printable, self.paths[:2]), *(["..."] if total > 2 else [])],
                set="LIGHTVIT_DATA=/path/to/datasets   or   --cfg-options data_root=..., and "
                "data_prefix.img in the config",
                layout="docs/datasets.md#coco   without data: make demo",
            )
        skipped = self.skipped
        standing = [p for p in self.problems if not (skip_corrupt and p.kind in SKIPPABLE)]
        if not standing and len(skipped) < total:
            left_out = {problem.row for problem in skipped}
            return [row for row in range(total) if row not in left_out]
        shown = standing or self.problems
        kinds = Counter(problem.kind for problem in shown)
        details: dict[str, str | list[str]] = {
            "images": self.named(shown),
            "mend": list(dict.fromkeys(_REMEDY[kind] for kind in kinds)),
        }
        if len(skipped) == total:
            details["skip"] = "not possible: no image would be left"
        elif skipped and not skip_corrupt:
            rest = "" if len(skipped) == len(shown) else ", the other problems stay an error"
            details["skip"] = f"--cfg-options skip_corrupt=True   leaves out {len(skipped):,}{rest}"
        summary = ", ".join(f"{kind} ({count:,})" for kind, count in kinds.most_common())
        raise BadDataError(
            f"{title}: {len(shown):,} of {total:,} images cannot be used: {summary}.",
            **details,
            help="docs/datasets.md#start-up-check",
        )


def scan_images(
    paths: Sequence[str],
    sizes_hw: Sequence[tuple[int, int]],
    *,
    turned: bool = True,
    cache_dir: str | Path | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> ImagesReport:
    """Decode every image once and compare its size; raises nothing about files.

    Args:
        sizes_hw: height and width that the annotations tell of each.
        turned: images are loaded as their EXIF orientation has them, which OpenCV does unless it
            is told not to; sizes are compared after that.
        cache_dir: where outcomes are kept, by default `cache_root()/scans`, under the names,
            sizes and modification times of all files and the sizes told.
        workers: threads, by default one a CPU, at most 16.
        progress: keep a line on stderr.
    """
    paths, sizes = tuple(paths), [tuple(map(int, size)) for size in sizes_hw]
    if not paths or len(paths) != len(sizes):
        raise ValueError("scan_images needs at least one image, and a size for each")
    states = [file_state(path) for path in paths]
    key = files_key(f"{_VERSION} {turned} {sizes}", paths, states)
    cache = Path(cache_dir or cache_root() / "scans") / f"{key}.json"
    known = _recall(cache, paths)
    if known is not None:
        return known
    there = [row for row, state in enumerate(states) if state != ABSENT]
    found = {row: (MISSING, "not there") for row in range(len(paths))}
    checks = check_all(
        lambda row: _problem(Path(paths[row]), sizes[row], turned),
        there,
        workers=workers,
        say=progress_line(len(there), "images") if progress and there else None,
    )
    for row, problem in zip(there, checks, strict=True):
        found[row] = problem
    problems = [(row, *problem) for row, problem in sorted(found.items()) if problem]
    if all(kind != UNREADABLE for _, kind, _ in problems):  # those can recover without a change
        try:
            write_whole(cache, json.dumps({"problems": problems}))
        except OSError:  # no place for a cache: the next start scans again
            pass
    return ImagesReport(paths, tuple(ImageProblem(*p) for p in problems), from_cache=False)


def _problem(path: Path, told_hw: tuple[int, int], turned: bool) -> tuple[str, str] | None:
    """(kind, detail) of what is wrong with an image; None if nothing is."""
    try:
        image, _ = decode(path, CORRUPT_IMAGE)
    except DecodeError as error:
        return error.args
    raw_hw = (image.height, image.width)
    shown, word = shown_hw(image)
    hw, word = (shown, word) if turned else (raw_hw, "")
    if hw == told_hw:
        return None
    detail = (
        f"{hw[0]} x {hw[1]}{word}, the annotations say {told_hw[0]} x {told_hw[1]} (height x width)"
    )
    if raw_hw == told_hw:
        detail += "; drawn on the image as stored: LoadImageFromFile("
        detail += "color_type='color_ignore_orientation') leaves it so"
    return SIZES_DIFFER, detail


def _recall(cache: Path, paths: tuple[str, ...]) -> ImagesReport | None:
    try:
        kept = json.loads(cache.read_text(encoding="utf-8"))["problems"]
        problems = tuple(ImageProblem(int(row), str(kind), str(why)) for row, kind, why in kept)
        if any(p.kind not in _REMEDY or not 0 <= p.row < len(paths) for p in problems):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent, or not what was written here: scan again
    return ImagesReport(paths, problems, from_cache=True)
