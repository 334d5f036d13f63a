"""Where the images of a pre-training run come from: a folder of files, or packed shards.

    source = open_source("data/imagenet/train")
    source.name(7), source.read(7)    # "n01440764/n01440764_10470.JPEG", the file's bytes

Names and places lie in a few flat buffers, not in one Python object an image: a million of them are
handed to a spawned worker at once, and a forked one copies no page by reading them.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np

from lightvit_bench.errors import BadDataError, MissingDataError, printable
from lightvit_bench.pretrain.pack_index import AGAIN, PACK, PACKING, read_index, read_pack

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_OPEN_SHARDS = 256  # descriptors held at once: far below the usual limit of 1,024
_NAMED = 20  # unreadable images that a message lists


class ImageSource(Protocol):
    """Encoded images by number, in an order that stays.

    digest: sha256 of the names in their order (packs: and of the sizes), for a resumed run to tell
    whether the data set has changed.
    """

    digest: str

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """The path relative to the root, with `/`; in a pack the member's name."""
        ...

    def read(self, index: int) -> bytes:
        """The encoded image. Raises OSError."""
        ...

    def describe(self) -> str:
        """One line for a log."""
        ...


def open_source(root: str | os.PathLike) -> ImageSource:
    """The images below `root`: packed shards where there is a `pack.json`, else image files.

    Raises:
        MissingDataError: there is no such folder.
        BadDataError: it holds no image, cannot be listed, or is a damaged or unfinished pack.
    """
    root = Path(root)
    if not root.is_dir():
        raise MissingDataError(
            "there is no folder of images." if not root.exists() else "data_root is not a folder.",
            looked_for=str(root),
            set="LIGHTVIT_DATA=/path/to/datasets   or   --cfg-options data_root=...",
            layout="docs/pretraining_data.md",
        )
    if (root / PACK).exists():
        return ShardSource(root)
    if (root / PACKING).exists():
        raise BadDataError("the pack is not finished.", pack=str(root), run=AGAIN)
    return FolderSource(root)


def allowed_unreadable(images: int, share: float) -> int:
    """How many of a data set's images may be unreadable: that part, and one file unless it is 0."""
    return max(int(share * images), 1 if share > 0 else 0)


def named_reasons(unreadable: Iterable[tuple[str, str]]) -> list[str]:
    """Lines for a message: the first 20 images and why each cannot be read, how many more."""
    entries = iter(unreadable)
    lines = [f"{printable(name)}: {printable(why)}" for name, why in islice(entries, _NAMED)]
    more = sum(1 for _ in entries)
    return [*lines, f"and {more:,} more"] if more else lines


class Names:
    """Strings by number, in one buffer."""

    def __init__(self, names: Iterable[str]):
        encoded = [os.fsencode(name) for name in names]
        self.buffer = b"\0".join([*encoded, b""])
        self.ends = np.cumsum([len(name) + 1 for name in encoded], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        start = int(self.ends[index - 1]) if index else 0
        return os.fsdecode(self.buffer[start : int(self.ends[index]) - 1])


class FolderSource:
    """Image files below a folder, in folders or not, in the order of their paths' bytes."""

    def __init__(self, root: str | os.PathLike):
        self.root = os.path.abspath(root)
        names, others = _list_images(self.root)
        if not names:
            others = [printable(name) for name in others]
            there = {"there_is": [*others, "..."] if len(others) == 10 else others}
            raise BadDataError(
                "the folder holds no image.",
                looked_for=f"{self.root}/**/*{{{','.join(SUFFIXES)}}}, in either case",
                **(there if others else {"there_is": "no file at all"}),
                set="LIGHTVIT_DATA=/path/to/datasets   or   --cfg-options data_root=...",
                layout="docs/pretraining_data.md",
            )
        self.names = Names(sorted(names, key=os.fsencode))
        self.digest = hashlib.sha256(self.names.buffer).hexdigest()

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """The path relative to the root."""
        return self.names[index]

    def read(self, index: int) -> bytes:
        """The file's bytes. Raises OSError."""
        with open(os.path.join(self.root, self.names[index]), "rb", buffering=0) as file:
            return file.read()

    def describe(self) -> str:
        """One line for a log."""
        return f"{len(self):,} image files in {self.root}"


def _list_images(root: str) -> tuple[list[str], list[str]]:
    """Relative paths of the images below `root`, unordered, and of up to ten other files.

    Links to folders are followed, but not into a folder that is being listed already. A link to
    nothing counts as an image by its name: reading it fails, and is reported.
    """
    images, others = [], []

    def walk(folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> None:
        try:
            state = os.stat(folder)
            entries = os.scandir(folder)
        except OSError as error:  # leaving its images out would be another data set
            raise BadDataError(
                "a folder cannot be listed.",
                folder=printable(folder),
                because=error.strerror or str(error),
            ) from error
        here = (state.st_dev, state.st_ino)
        if here in above:
            return
        with entries as listed:
            for entry in listed:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    walk(entry.path, f"{prefix}{entry.name}/", above | {here})
                elif entry.name.lower().endswith(SUFFIXES):
                    images.append(prefix + entry.name)
                elif len(others) < 10:
                    others.append(prefix + entry.name)

    walk(root, "", frozenset())
    return images, others


class ShardSource:
    """The images of a pack that `tools/pack_images.py` made, read with one `pread` each.

    `pread` names the place to read at, so a descriptor that a forked worker inherits is safe.
    """

    def __init__(self, root: str | os.PathLike):
        self.root = os.path.abspath(root)
        pack = read_pack(Path(self.root))
        indexes = [read_index(Path(self.root), shard) for shard in pack["shards"]]
        self.tars = [index["tar"] for index in indexes]
        counts = [len(index["members"]) for index in indexes]
        size = sum(index["bytes"] for index in indexes)
        if (sum(counts), size) != (pack["images"], pack["bytes"]) or not pack["images"]:
            raise BadDataError(
                f"pack.json tells of {pack['images']:,} images in {pack['bytes']:,} bytes, the "
                f"shards of {sum(counts):,} in {size:,}.",
                pack=self.root,
                run=AGAIN,
            )
        members = [member for index in indexes for member in index["members"]]
        self.names = Names(name for name, _, _ in members)
        self.shards = np.repeat(np.arange(len(indexes), dtype=np.int32), counts)
        self.offsets = np.array([offset for _, offset, _ in members], np.int64)
        self.sizes = np.array([size for _, _, size in members], np.int64)
        digest = hashlib.sha256(self.names.buffer)
        digest.update(self.sizes.astype("<i8").tobytes())
        self.digest = digest.hexdigest()
        self._open: OrderedDict[int, int] = OrderedDict()  # shard -> descriptor, oldest first

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """The member's name."""
        return self.names[index]

    def read(self, index: int) -> bytes:
        """The member's bytes. Raises OSError, also where the tar has become shorter."""
        shard = int(self.shards[index])
        size = int(self.sizes[index])
        data = os.pread(self._descriptor(shard), size, int(self.offsets[index]))
        if len(data) != size:
            raise OSError(f"{self.tars[shard]} ends before the image does")
        return data

    def _descriptor(self, shard: int) -> int:
        if shard not in self._open:
            if len(self._open) >= _OPEN_SHARDS:
                os.close(self._open.popitem(last=False)[1])
            path = os.path.join(self.root, self.tars[shard])
            self._open[shard] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return self._open[shard]

    def close(self) -> None:
        """Close the shards; reading opens them again."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_open": OrderedDict()}  # a descriptor means nothing elsewhere

    def __del__(self):
        if hasattr(self, "_open"):
            self.close()

    def describe(self) -> str:
        """One line for a log."""
        return f"{len(self):,} images in {len(self.tars):,} shards in {self.root}"
