"""Check a folder of images and label masks before training starts, not at iteration 5,000.

`find_pairs` lists the files, `scan` decodes every one of them once and remembers the outcome,
`ScanReport.require_clean` says what is wrong and hands over what can be trained on:

    pairs = find_pairs(resolve_root("data/camvid"), "images/train", "annotations/train",
                       dataset_name="CamVid")
    report = scan(pairs, valid_ids=[*range(11), 255])
    pairs = report.require_clean()
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import ImageFile

from lightvit_bench.data.roots import cache_root, write_whole
from lightvit_bench.data.seg_check import (
    REMEDY,
    SKIPPABLE,
    UNREADABLE,
    Problem,
    SegPair,
    check_pair,
)
from lightvit_bench.errors import BadDataError, MissingDataError

# Part of the cache key: raise it when the checks change, and old outcomes are forgotten.
_VERSION = 1
_NAMED_FILES, _NAMED_PARTNERS = 20, 10
ABSENT = "absent"

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

__all__ = ["Problem", "ScanReport", "SegPair", "check_all", "files_key", "find_pairs", "scan"]


@dataclass(frozen=True, eq=False)
class ScanReport:
    """What `scan` found.

    pixels: int64 of shape (256,), pixels per mask id over the pairs that decode (not `skipped`).
    smallest_hw, largest_hw: least and greatest image height and width, each side on its own; None
    when no image decodes. from_cache: nothing was decoded, an earlier scan of these files was read.
    """

    pairs: tuple[SegPair, ...]
    problems: tuple[Problem, ...]
    pixels: np.ndarray
    smallest_hw: tuple[int, int] | None
    largest_hw: tuple[int, int] | None
    from_cache: bool

    @property
    def skipped(self) -> list[SegPair]:
        """The pairs with a corrupt or empty file: those `skip_corrupt=True` leaves out."""
        corrupt = {problem.path for problem in self.problems if problem.kind in SKIPPABLE}
        return [pair for pair in self.pairs if pair.image in corrupt or pair.mask in corrupt]

    def require_clean(self, skip_corrupt: bool = False) -> list[SegPair]:
        """The pairs to train or test on; BadDataError naming the files when some cannot be used.

        `skip_corrupt` forgives corrupt and empty files only, and not when nothing would be left.
        """
        standing = [p for p in self.problems if not (skip_corrupt and p.kind in SKIPPABLE)]
        if standing:
            raise self._error(standing, skip_corrupt)
        skipped = set(self.skipped)
        kept = [pair for pair in self.pairs if pair not in skipped]
        if not kept:
            raise self._error(list(self.problems), skip_corrupt)
        return kept

    def _error(self, problems: list[Problem], skip_corrupt: bool) -> BadDataError:
        kinds = Counter(problem.kind for problem in problems)
        files = len({problem.path for problem in problems})
        named = [f"{p.path}: {p.kind}, {p.detail}" for p in problems[:_NAMED_FILES]]
        if len(problems) > _NAMED_FILES:
            named.append(f"and {len(problems) - _NAMED_FILES} more")
        details: dict[str, str | list[str]] = {
            "files": named,
            "mend": list(dict.fromkeys(REMEDY[kind] for kind in kinds)),
        }
        corrupt = sum(kinds[kind] for kind in SKIPPABLE)
        if len(self.skipped) == len(self.pairs):
            details["skip"] = "not possible: no pair would be left"
        elif corrupt and not skip_corrupt:
            rest = "" if corrupt == len(problems) else ", the other files stay an error"
            details["skip"] = (
                f"--cfg-options skip_corrupt=True   leaves out the {corrupt} corrupt or empty{rest}"
            )
        details["help"] = "docs/datasets.md#start-up-check"
        summary = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common())
        return BadDataError(
            f"{files} of {2 * len(self.pairs)} files cannot be used: {summary}.", **details
        )


def find_pairs(
    root: str | Path,
    image_dir: str,
    mask_dir: str,
    *,
    image_suffix: str = ".jpg",
    mask_suffix: str = ".png",
    dataset_name: str,
    anchor: str | None = None,
) -> list[SegPair]:
    """The images below `root/image_dir` with their masks below `root/mask_dir`, sorted by name.

    Lists what mmseg's datasets list: folders within folders too, names that end with the suffix
    (its case counts), hidden files left out. `root` is taken as it is (see `resolve_root`).
    `anchor` is the data set's section in docs/datasets.md, by default made from its name.

    Raises MissingDataError when a folder is absent or holds no such file, BadDataError when an
    image has no mask or a mask no image.
    """
    root = Path(root)
    anchor = anchor or dataset_name.lower().removeprefix("the ").replace(" ", "-")
    listed = []
    for part, suffix in ((image_dir, image_suffix), (mask_dir, mask_suffix)):
        folder = root / part
        if not folder.is_dir():
            raise _missing(dataset_name, anchor, folder, root)
        names = sorted(_names(folder))
        chosen = {name[: -len(suffix)]: folder / name for name in names if name.endswith(suffix)}
        others = Counter(Path(name).suffix for name in names if not name.endswith(suffix))
        if not chosen:
            raise _nothing(dataset_name, anchor, folder, suffix, others)
        listed.append((chosen, others))
    (images, image_others), (masks, mask_others) = listed

    bare, orphans = sorted(images.keys() - masks.keys()), sorted(masks.keys() - images.keys())
    if bare or orphans:
        details = {}
        if bare:
            details["without_mask"] = _first([f"{name}{image_suffix}" for name in bare])
            details["masks_in"] = f"{root / mask_dir}{_also(mask_suffix, mask_others)}"
        if orphans:
            details["without_image"] = _first([f"{name}{mask_suffix}" for name in orphans])
            details["images_in"] = f"{root / image_dir}{_also(image_suffix, image_others)}"
        raise BadDataError(
            f"{dataset_name}: {len(bare)} of {len(images)} images have no mask, {len(orphans)} of "
            f"{len(masks)} masks have no image.",
            **details,
            help=f"docs/datasets.md#{anchor}",
        )
    pairs = [SegPair(images[stem], masks[stem]) for stem in images]
    return sorted(pairs, key=lambda pair: str(pair.image))


def scan(
    pairs: Sequence[SegPair],
    *,
    valid_ids: Iterable[int],
    allow_grey: bool = False,
    cache_dir: str | Path | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> ScanReport:
    """Decode every image and mask once and report what cannot be used; raises nothing about files.

    valid_ids: ids a mask may hold, void included, as stored in the file. allow_grey: take 8-bit
    images of one channel (loaders repeat it three times); the official ADE20K has a few. The
    outcome is kept in `cache_dir` (default `cache_root()/scans`) under the names, sizes and
    modification times of all files; while these stay, a later call decodes nothing. `workers`
    threads decode, by default one a CPU, at most 16. `progress` writes a line on stderr.
    """
    pairs, valid = tuple(pairs), frozenset(int(i) for i in valid_ids)
    if not pairs or not valid:
        raise ValueError("scan needs at least one pair and one valid id")
    cache = Path(cache_dir or cache_root() / "scans") / f"{_key(pairs, valid, allow_grey)}.json"
    report = _recall(cache, pairs)
    if report is not None:
        return report

    pixels, sizes, problems = np.zeros(256, np.int64), [], []
    checks = check_all(
        lambda pair: check_pair(pair, valid, allow_grey),
        pairs,
        workers=workers,
        say=progress_line(len(pairs), "pairs") if progress else None,
    )
    for index, check in enumerate(checks):
        problems += [
            (index, "image" if p.path == pairs[index].image else "mask", p.kind, p.detail)
            for p in check.problems
        ]
        pixels += 0 if check.pixels is None else check.pixels
        sizes += [] if check.hw is None else [check.hw]
    outcome = {
        "pixels": pixels.tolist(),
        "problems": problems,
        "smallest_hw": np.min(sizes, axis=0).tolist() if sizes else None,
        "largest_hw": np.max(sizes, axis=0).tolist() if sizes else None,
    }
    if all(kind != UNREADABLE for _, _, kind, _ in problems):  # those can recover without a change
        try:
            write_whole(cache, json.dumps(outcome))
        except OSError:  # no place for a cache: the next start scans again
            pass
    return _report(outcome, pairs, from_cache=False)


def check_all(
    check: Callable[[Item], Outcome],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    say: Callable[[int], None] | None = None,
) -> Iterator[Outcome]:
    """`check` of every item, in order, by threads (by default one a CPU, at most 16).

    `say` is told how many are done. Pillow refuses truncated files meanwhile.
    """
    workers = workers or min(16, len(os.sched_getaffinity(0)))
    with _whole_files_only(), ThreadPoolExecutor(workers) as pool:
        try:
            for done, outcome in enumerate(pool.map(check, items), 1):
                yield outcome
                if say:
                    say(done)
        except BaseException:  # Ctrl-C: do not decode the other 20,000 first
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _whole_files_only() -> Iterator[None]:
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def progress_line(total: int, unit: str) -> Callable[[int], None]:
    """What `check_all` may tell how many are done: it keeps a line on stderr up to date."""
    shown = -1.0

    def say(done: int) -> None:
        nonlocal shown
        now, last = time.monotonic(), done == total
        if last or (sys.stderr.isatty() and now - shown > 0.2):
            shown = now
            start = "\r" if sys.stderr.isatty() else ""
            print(
                f"{start}checking data: {done}/{total} {unit}",
                end="\n" if last else "",
                file=sys.stderr,
                flush=True,
            )

    return say


def _key(pairs: Sequence[SegPair], valid: Collection[int], allow_grey: bool) -> str:
    paths = [path for pair in pairs for path in (pair.image, pair.mask)]
    return files_key(f"{_VERSION} {sorted(valid)} {allow_grey}", paths, map(file_state, paths))


def file_state(path: str | Path) -> str:
    """Size and time of change, which tell whether a file is still the one checked; or ABSENT."""
    try:
        stat = os.stat(path)
    except OSError:
        return ABSENT
    return f"{stat.st_size} {stat.st_mtime_ns}"


def files_key(checked: str, paths: Sequence[str | Path], states: Iterable[str]) -> str:
    """The name under which the outcome of checking files is kept; `checked` says for what."""
    # Names relative to what all files share, so that a mounted or moved data set is known again.
    paths = [os.path.abspath(path) for path in paths]
    common = os.path.commonpath(paths)
    digest = hashlib.sha256(f"{checked}\n".encode())
    for path, state in zip(paths, states, strict=True):
        digest.update(f"{os.path.relpath(path, common)}\0{state}\n".encode(errors="replace"))
    return digest.hexdigest()[:32]


def _recall(cache: Path, pairs: tuple[SegPair, ...]) -> ScanReport | None:
    try:
        return _report(json.loads(cache.read_text(encoding="utf-8")), pairs, from_cache=True)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None  # absent, or not what was written here: scan again


def _report(outcome: dict, pairs: tuple[SegPair, ...], from_cache: bool) -> ScanReport:
    pixels = np.array(outcome["pixels"], np.int64)
    if pixels.shape != (256,):
        raise ValueError("not the outcome of a scan")
    problems = tuple(
        Problem({"image": pairs[i].image, "mask": pairs[i].mask}[which], str(kind), str(detail))
        for i, which, kind, detail in outcome["problems"]
    )
    if any(problem.kind not in REMEDY for problem in problems):
        raise ValueError("not the outcome of a scan")
    least, most = (
        None if hw is None else (int(hw[0]), int(hw[1]))
        for hw in (outcome["smallest_hw"], outcome["largest_hw"])
    )
    return ScanReport(pairs, problems, pixels, least, most, from_cache)


def _names(folder: Path) -> Iterator[str]:
    """Files below `folder`, relative and with `/`; hidden files are left out, as in mmengine."""

    def refuse(error: OSError) -> None:  # os.walk would pass over a folder it may not read
        raise BadDataError(
            "A folder cannot be listed.",
            folder=str(error.filename),
            because=error.strerror or str(error),
        )

    for base, _, files in os.walk(folder, onerror=refuse, followlinks=True):
        for name in files:
            path = os.path.join(base, name)
            if not name.startswith(".") and os.path.isfile(path):
                yield Path(os.path.relpath(path, folder)).as_posix()


def _knobs(anchor: str) -> dict[str, str]:
    link = f"docs/datasets.md#{anchor}"
    return {
        "set": "LIGHTVIT_DATA=/path/to/datasets   or   --cfg-options data_root=...",
        "layout": f"{link:<31}   without data: make demo",
    }


def _missing(name: str, anchor: str, folder: Path, root: Path) -> MissingDataError:
    there = {}
    if root.is_dir():  # the root is right and something below it is not: show what is there
        held = sorted(p.name for p in root.iterdir() if not p.name.startswith("."))
        there["there_is"] = f"{root} with {', '.join(held[:10]) or 'nothing in it'}"
    return MissingDataError(f"{name} not found.", looked_for=str(folder), **there, **_knobs(anchor))


def _nothing(
    name: str, anchor: str, folder: Path, suffix: str, others: Counter[str]
) -> MissingDataError:
    return MissingDataError(
        f"{name} not found: no file ends with {suffix}.",
        looked_for=f"{folder}/**/*{suffix}",
        there_is=_counted(others) or "no file at all",
        **_knobs(anchor),
    )


def _first(names: list[str]) -> list[str]:
    more = [f"and {len(names) - _NAMED_PARTNERS} more"] if len(names) > _NAMED_PARTNERS else []
    return names[:_NAMED_PARTNERS] + more


def _also(suffix: str, others: Counter[str]) -> str:
    besides = f" (besides: {_counted(others)})" if others else ""
    return f", names ending with {suffix}{besides}"


def _counted(suffixes: Counter[str]) -> str:
    return ", ".join(
        f"{count} of {suffix or 'no suffix'}" for suffix, count in suffixes.most_common(8)
    )
