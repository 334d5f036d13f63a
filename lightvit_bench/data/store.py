"""A folder, a zip archive, or several of both, read as one tree of files.

    tree = open_tree("data/lasot")                      # the folder and the archives in it
    tree.list("airplane").folders                       # ["airplane-1", ...]
    tree.read("airplane/airplane-1/groundtruth.txt")

Paths are relative, with `/`; "" is the top. Nothing is open between two calls and nothing that is
pickled is large, so that a tree goes to forked and spawned workers alike.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from lightvit_bench.data.zip_index import zip_index
from lightvit_bench.errors import BadDataError, MissingDataError, printable


class Listing(NamedTuple):
    """What lies in a folder: names without a path, sorted; hidden ones are left out."""

    folders: list[str]
    files: list[str]


class Store(Protocol):
    """A read-only tree of files."""

    root: str

    def list(self, folder: str = "") -> Listing:
        """What lies in `folder`; nothing where there is no such folder."""

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder of that name."""

    def read(self, path: str) -> bytes:
        """A file's bytes. `BadDataError` names the file, and the archive it is in."""

    def place(self, path: str) -> str:
        """Where `path` lies, for messages."""


@dataclass(frozen=True)
class FolderStore:
    """The files below a folder."""

    root: str

    def list(self, folder: str = "") -> Listing:
        """What lies in `folder`; `BadDataError` where the system refuses to list it."""
        folders, files = [], []
        try:
            with os.scandir(self._path(folder)) as entries:
                for entry in entries:
                    if not _hidden(entry.name):
                        (folders if entry.is_dir() else files).append(entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return Listing([], [])
        except OSError as error:
            raise _refused("A folder cannot be listed.", self.place(folder), error) from error
        return Listing(sorted(folders), sorted(files))

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder of that name."""
        return os.path.exists(self._path(path))

    def read(self, path: str) -> bytes:
        """A file's bytes."""
        try:
            with open(self._path(path), "rb", buffering=0) as file:
                return file.read()
        except OSError as error:
            raise _refused("A file cannot be read.", self.place(path), error) from error

    def place(self, path: str) -> str:
        """The path on this machine."""
        return printable(os.path.join(self.root, path) if path else self.root)

    def _path(self, path: str) -> str:
        return os.path.join(self.root, _inside(path))


@dataclass(frozen=True)
class ZipStore:
    """The members of a zip archive, below its folder `within` ("" for all of it)."""

    root: str
    within: str = ""

    def list(self, folder: str = "") -> Listing:
        """What lies in `folder`; `BadDataError` for an archive that cannot be read."""
        index, key = zip_index(self.root), self._key(folder)
        folders = sorted(os.fsdecode(name) for name in index.folders.get(key, ()))
        files = [os.fsdecode(name) for name in index.files(key)]
        return Listing(
            [name for name in folders if not _hidden(name)],
            [name for name in files if not _hidden(name)],
        )

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder of that name."""
        index, key = zip_index(self.root), self._key(path)
        return key in index.folders or index.member(key) is not None

    def read(self, path: str) -> bytes:
        """A member's bytes, with its checksum looked at."""
        return zip_index(self.root).read(self._key(path))

    def place(self, path: str) -> str:
        """The archive and the member: `data/lasot/cup.zip: cup/cup-1/groundtruth.txt`."""
        inner = "/".join(part for part in (self.within, path) if part)
        return printable(f"{self.root}: {inner}" if inner else self.root)

    def _key(self, path: str) -> bytes:
        return os.fsencode("/".join(p for p in (self.within, _inside(path)) if p))


@dataclass(frozen=True)
class Tree:
    """Several stores as one; where two have a file of the same name, the first one's counts."""

    root: str
    parts: tuple[Store, ...]

    @property
    def name(self) -> str:
        """What the root is called: a folder's name, or an archive's without its ending."""
        path = Path(self.root)
        return path.stem if isinstance(self.parts[0], ZipStore) else path.name

    def list(self, folder: str = "") -> Listing:
        """What lies in `folder` in any of the parts."""
        listings = [part.list(folder) for part in self.parts]
        return Listing(
            sorted({name for listing in listings for name in listing.folders}),
            sorted({name for listing in listings for name in listing.files}),
        )

    def exists(self, path: str) -> bool:
        """Whether a part has it."""
        return any(part.exists(path) for part in self.parts)

    def read(self, path: str) -> bytes:
        """A file's bytes, from the first part that has it."""
        return next((p for p in self.parts if p.exists(path)), self.parts[0]).read(path)

    def place(self, path: str) -> str:
        """Where the part that has it keeps it; in the first part, if none has."""
        return next((p for p in self.parts if p.exists(path)), self.parts[0]).place(path)

    def home(self, folder: str) -> Store:
        """The one part that holds `folder`, for quick reading; the tree itself if several do."""
        holding = [part for part in self.parts if part.exists(folder)]
        return holding[0] if len(holding) == 1 else self


def every_archive(name: str) -> bool:
    """Takes all names."""
    return True


def open_tree(*places: str | Path, archives: Callable[[str], bool] = every_archive) -> Tree:
    """The given folders and archives as one tree, with the archives that lie in the folders.

    Args:
        places: folders or zip archives; those that do not exist are left out. The tree is called
            after the first.
        archives: which of a folder's archives to take, by name in lower case.

    Raises:
        MissingDataError: none of the places exists. BadDataError: an archive cannot be read.
    """
    parts: list[Store] = []
    for place in map(os.path.abspath, places):
        if os.path.isdir(place):
            folder = FolderStore(place)
            parts.append(folder)
            names = [n for n in folder.list().files if n.lower().endswith(".zip")]
            taken = [name for name in names if archives(name.lower())]
            parts += [_whole_archive(os.path.join(place, name), place) for name in taken]
        elif os.path.isfile(place):
            parts.append(_whole_archive(place))
    if not parts:
        raise MissingDataError("nothing is there.", looked_for=[str(place) for place in places])
    return Tree(os.path.abspath(places[0]), tuple(dict.fromkeys(parts)))


def _whole_archive(path: str, folder: str | None = None) -> ZipStore:
    """The archive; one that is cut short is told of now, not at its first frame.

    `folder`: in which it was found. Nothing but its list of members could say whether it is a part
    of the data set, so that it is not left out.
    """
    archive = ZipStore(path)
    try:
        archive.list()
    except BadDataError as error:
        if folder is not None:
            away = f"or move it away, if it is no part of what is in {printable(folder)}"
            error.details["mend"] = [*error.details.get("mend", []), away]
        raise
    return archive


def find_folders(store: Store, wanted: Callable[[str], object], depth: int) -> Iterable[str]:
    """Paths of the folders whose name `wanted` takes, at most `depth` levels below the top.

    Folders that it takes are not looked into, so that no frames are listed.
    """

    def walk(folder: str, left: int) -> Iterable[str]:
        for name in store.list(folder).folders:
            path = f"{folder}/{name}" if folder else name
            if wanted(name):
                yield path
            elif left > 1:
                yield from walk(path, left - 1)

    return walk("", depth)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _inside(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise BadDataError("A file's name leads out of its data set.", name=printable(path))
    return path


def _refused(message: str, place: str, error: OSError) -> BadDataError:
    return BadDataError(message, file=place, because=error.strerror or str(error))
