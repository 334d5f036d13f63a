"""Packing a folder of images into a few large tar files, resized once, for pre-training.

    report = pack_images("imagenet/train", "data/imagenet_256")
    images = open_source("data/imagenet_256")

A pack is `shard-00000.tar` and so on (ordinary, uncompressed), beside each the JSON that says where
in it each image lies, and `pack.json`, written last. Every file is there whole or not at all; a
pack that was interrupted goes on from its last whole shard.
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import signal
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import cv2
import torch

from lightvit_bench.errors import BadDataError, ConfigError
from lightvit_bench.pretrain.augment import UnreadableImage, because, cut, open_image, resize
from lightvit_bench.pretrain.pack_index import FORMAT, PACK, PACKING, read_index, shard_name
from lightvit_bench.pretrain.pack_plan import agree, check_options, keep_apart, write_json
from lightvit_bench.pretrain.sources import (
    ImageSource,
    allowed_unreadable,
    named_reasons,
    open_source,
)
from lightvit_bench.writing import whole_file


@dataclass(frozen=True)
class PackReport:
    """What became of a pack.

    images, bytes: in the shards. copied: images whose file was taken as it was. small: images
    whose short side is below the pack's, kept at their size. unreadable: (name, reason). kept:
    shards that an earlier run had made.
    """

    images: int
    bytes: int
    shards: int
    copied: int
    small: int
    unreadable: tuple[tuple[str, str], ...]
    kept: int

    def __str__(self) -> str:
        kept = f", {self.kept:,} from an earlier run" if self.kept else ""
        lines = [
            f"images      {self.images:,}",
            f"  copied    {self.copied:,} byte for byte",
            f"  small     {self.small:,} with a short side below what was asked for",
            f"shards      {self.shards:,}, {self.bytes / 1e9:.2f} GB{kept}",
            f"unreadable  {len(self.unreadable):,}",
            *(f"            {line}" for line in named_reasons(self.unreadable)),
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class _Image:
    """A packed image, or why there is none."""

    data: bytes | None
    reason: str = ""
    copied: bool = False
    small: bool = False


def pack_images(
    source_root: str | os.PathLike,
    out: str | os.PathLike,
    *,
    short_side: int = 256,
    quality: int = 90,
    images_per_shard: int = 8192,
    workers: int | None = None,
    max_unreadable: float = 0.01,
) -> PackReport:
    """Pack the images below `source_root` into the folder `out`, or go on with what is there.

    An image is made upright and its short side at most `short_side` pixels (antialiased bicubic,
    JPEG of that quality). A colour JPEG that needs neither is copied byte for byte.

    Args:
        workers: processes; by default one a core that this process may use. 0: this process.
        max_unreadable: part of the source that may be unreadable; judged after each shard, which
            is kept. One file may be, unless it is 0.

    Raises:
        MissingDataError, BadDataError: see `open_source`; or too many images are unreadable.
        ConfigError: an option is out of range, or differs from those `out` was begun with.
    """
    check_options(short_side, quality, images_per_shard, workers, max_unreadable)
    source, out = open_source(source_root), Path(out)
    keep_apart(Path(source_root), out)
    options = {"short_side": short_side, "quality": quality, "images_per_shard": images_per_shard}
    plan = {
        "format": FORMAT,
        "options": options,
        "source": {"images": len(source), "digest": source.digest},
    }
    agree(out, plan)
    for aside in out.glob(".shard-*.part"):  # of a run that was killed
        aside.unlink()
    names = member_names(source.name(i) for i in range(len(source)))
    parts = [
        range(start, min(start + images_per_shard, len(source)))
        for start in range(0, len(source), images_per_shard)
    ]
    indexes, kept, say = [], 0, _progress(len(source))
    allowed = allowed_unreadable(len(source), max_unreadable)
    with _encoder(source, short_side, quality, workers) as encode:
        for number, part in enumerate(parts):
            stem = out / shard_name(number)
            index = _whole_shard(stem, len(part))
            if index is None:
                index = _write_shard(stem, source, part, names, encode(part), say)
            else:
                kept += 1
                say(part.stop, kept=True)
            indexes.append(index)
            _judge([entry for i in indexes for entry in i["unreadable"]], allowed, source, out)
    report = _report(indexes, kept)
    whole = {
        **plan,
        "images": report.images,
        "bytes": report.bytes,
        "shards": [Path(index["tar"]).stem for index in indexes],
        "unreadable": report.unreadable,
    }
    if not report.images:
        raise BadDataError("no image could be read: there is nothing to pack.", of=str(source_root))
    write_json(out / PACK, whole)
    (out / PACKING).unlink(missing_ok=True)
    return report


def member_names(names: Iterable[str]) -> list[str]:
    """The names of images in a pack: with the suffix .jpg, no two alike.

    A name that ends so already stays. Where replacing the suffix gives a name that another image
    has, .jpg is appended instead: of `a.jpg` and `a.png` become `a.jpg` and `a.png.jpg`.
    """
    names = list(names)
    taken = {name for name in names if name.endswith(".jpg")}
    members = []
    for name in names:
        if not name.endswith(".jpg"):
            stem = os.path.splitext(name)[0]
            candidates = (f"{stem}.jpg", f"{name}.jpg", *(f"{name}-{i}.jpg" for i in range(2, 100)))
            name = next(candidate for candidate in candidates if candidate not in taken)
            taken.add(name)
        members.append(name)
    return members


def repack(encoded: bytes, short_side: int, quality: int) -> tuple[bytes, bool]:
    """An image as a pack holds it, and whether it is smaller than asked for.

    Raises:
        UnreadableImage: damaged, or no image.
    """
    header = open_image(encoded)
    height, width = header.height, header.width
    least = min(height, width)
    size = height, width
    if least > short_side:  # the long side as torchvision's Resize rounds it
        size = tuple(max(1, int(short_side * side / least)) for side in size)
    pixels = cut(encoded, header, (0, 0, height, width), size)  # copied ones too: are they whole?
    if size != (height, width):
        pixels = resize(pixels, size, "bicubic").permute(1, 2, 0).numpy()
    elif header.pillow is None and header.channels == 3 and header.orientation == 1:
        return encoded, least < short_side
    pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise UnreadableImage(f"{size[1]}x{size[0]} pixels cannot be written as a JPEG")
    return data.tobytes(), least < short_side


def _whole_shard(stem: Path, images: int) -> dict | None:
    """The index of a shard that an earlier run has made, if it and its tar are there whole."""
    try:
        index = read_index(stem.parent, stem.name)
    except (BadDataError, OSError):
        return None
    return index if len(index["members"]) + len(index["unreadable"]) == images else None


def _write_shard(
    stem: Path,
    source: ImageSource,
    part: range,
    names: list[str],
    images: Iterator[_Image],
    say: Callable[[int], None],
) -> dict:
    members, unreadable, copied, small = [], [], 0, 0
    path = stem.with_suffix(".tar")
    with whole_file(path) as aside:
        with tarfile.open(aside, "w", format=tarfile.PAX_FORMAT) as tar:
            for number, image in zip(part, images, strict=True):
                if image.data is None:
                    unreadable.append((source.name(number), image.reason))
                else:
                    info = tarfile.TarInfo(names[number])
                    info.size = len(image.data)
                    tar.addfile(info, io.BytesIO(image.data))
                    padded = -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                    members.append((names[number], tar.offset - padded, info.size))
                copied, small = copied + image.copied, small + image.small
                say(number + 1)
        digest, size = _sha256(aside), aside.stat().st_size
    index = {
        "format": FORMAT,
        "tar": path.name,
        "bytes": size,
        "sha256": digest,
        "copied": copied,
        "small": small,
        "unreadable": unreadable,
        "members": members,
    }
    write_json(stem.with_suffix(".json"), index)
    return index


_job: tuple[ImageSource, int, int] | None = None  # of a packing process


def _begin(source: ImageSource, short_side: int, quality: int) -> None:
    global _job
    _job = source, short_side, quality
    cv2.setNumThreads(0)  # the processes are the threads
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _work(index: int) -> _Image:
    return _encode(index, *_job)


def _encode(index: int, source: ImageSource, short_side: int, quality: int) -> _Image:
    try:
        encoded = source.read(index)
        data, small = repack(encoded, short_side, quality)
    except (UnreadableImage, OSError) as error:
        return _Image(None, because(error))
    return _Image(data, copied=data is encoded, small=small)


@contextmanager
def _encoder(
    source: ImageSource, short_side: int, quality: int, workers: int | None
) -> Iterator[Callable[[range], Iterator[_Image]]]:
    """A function from numbers of images to the images, in order, made by several processes."""
    if workers is None:
        workers = len(os.sched_getaffinity(0))
    if workers == 0:
        yield lambda part: (_encode(i, source, short_side, quality) for i in part)
        return
    # Not forked: the parent may have run torch, whose threads a fork does not survive.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _begin, (source, short_side, quality))
    try:
        yield lambda part: pool.map(_work, part, chunksize=16)
    except BrokenProcessPool as error:
        raise ConfigError(
            "a packing process was ended from outside, perhaps for want of memory.",
            packed="the whole shards are kept",
            set="--workers to less, and run again",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _judge(unreadable: list, allowed: int, source: ImageSource, out: Path) -> None:
    if len(unreadable) > allowed:
        raise BadDataError(
            f"{len(unreadable):,} of {len(source):,} images cannot be read, {allowed:,} may.",
            images=named_reasons(unreadable),
            of=source.describe(),
            packed=f"{out} keeps its whole shards",
            set="--max-unreadable 0.05   to leave out more, and go on",
        )


def _report(indexes: list[dict], kept: int) -> PackReport:
    return PackReport(
        images=sum(len(index["members"]) for index in indexes),
        bytes=sum(index["bytes"] for index in indexes),
        shards=len(indexes),
        copied=sum(index["copied"] for index in indexes),
        small=sum(index["small"] for index in indexes),
        unreadable=tuple((n, why) for index in indexes for n, why in index["unreadable"]),
        kept=kept,
    )


def _progress(total: int) -> Callable[..., None]:
    """A bar on a terminal; elsewhere a line every half minute."""
    begun = shown = time.monotonic()
    made, bar = 0, sys.stderr.isatty()

    def say(done: int, kept: bool = False) -> None:
        nonlocal shown, made
        made += not kept
        now, last = time.monotonic(), done == total
        if last or now - shown > (0.2 if bar else 30):
            shown = now
            rate = made / max(now - begun, 1e-9)
            left = f", {(total - done) / rate / 60:.0f} minutes left" if rate and not last else ""
            text = f"packing: {done:,}/{total:,} images, {rate:,.0f} a second{left}"
            start, end = ("\r", "\n" if last else "\033[K") if bar else ("", "\n")
            print(f"{start}{text}", end=end, file=sys.stderr, flush=True)

    return say


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
