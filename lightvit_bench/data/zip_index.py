"""What lies where in a zip archive, kept small: LaSOT's archives hold 3.5 million frames.

`zipfile` keeps an object of some 500 bytes for each member and an open file. Here the archive's
own list (its central directory) stays as the bytes it is, with one number a member to find it, and
no file stays open: workers share the list when they are forked and read it again when spawned.
Format: PKWARE's APPNOTE, sections 4.3 and 4.5 (zip64).
"""

from __future__ import annotations

import os
import struct
import zlib
from array import array
from functools import lru_cache
from typing import BinaryIO, NamedTuple

import numpy as np

from lightvit_bench.errors import BadDataError, MissingDataError, printable

_ENTRY = struct.Struct("<4s4xHHHHIIIHHHHHII")  # of the central directory, 46 bytes
_LOCAL = struct.Struct("<4s2xHHHHIIIHH")  # before a member's data, 30 bytes
_END, _END64 = struct.Struct("<4sHHHHIIH"), struct.Struct("<4sQHHIIQQQQ")
_LOCATOR64 = struct.Struct("<4sIQI")
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF  # "see the zip64 record"
_ENCRYPTED = 0x1
_STORED, _DEFLATED = 0, 8
_ARCHIVES = 512  # lists kept at once; TrackingNet has an archive for each of 30,000 videos

_COPY = "copy the archive again, then test it with `unzip -t`"


class Member(NamedTuple):
    """Where a member's data lies, and what it must be when it is unpacked."""

    header: int
    packed: int
    size: int
    crc: int
    method: int
    flags: int


class ZipIndex:
    """The members of one archive, by folder.

    folders: folder (b"" is the top) -> names of the folders in it, in the archive's order.
    """

    def __init__(self, path: str):
        self.path = path
        with open(path, "rb") as file:
            self._list, count, self._shift = _read_list(file, path)
        starts: dict[bytes, array] = {}
        self.folders: dict[bytes, dict[bytes, None]] = {b"": {}}
        at = 0
        for _ in range(count):
            name, after = self._name(at)
            folder, _, base = name.rpartition(b"/")
            if folder not in self.folders:
                self._add_folder(folder)
            if base:  # else the folder's own entry
                starts.setdefault(folder, array("q")).append(at)
            at = after
        self._files = {folder: self._sorted(found) for folder, found in starts.items()}

    def files(self, folder: bytes) -> list[bytes]:
        """Names of the files in a folder, sorted by their bytes, each once."""
        names = [self._base(at) for at in self._files.get(folder, ())]
        return list(dict.fromkeys(names))

    def member(self, path: bytes) -> Member | None:
        """The member of that name, the last one where there are several; None where none is."""
        folder, _, base = path.rpartition(b"/")
        starts = self._files.get(folder, ())
        low, high = 0, len(starts)
        while low < high:  # the first name that is greater
            middle = (low + high) // 2
            if self._base(starts[middle]) <= base:
                low = middle + 1
            else:
                high = middle
        if not low or self._base(starts[low - 1]) != base:
            return None
        return self._member(int(starts[low - 1]))

    def read(self, path: bytes) -> bytes:
        """A member's bytes, unpacked and checked; `BadDataError` says what is wrong with it."""
        member = self.member(path)
        if member is None:
            raise self._bad(path, "it is not in the archive")
        if member.flags & _ENCRYPTED:
            raise self._bad(path, "it is encrypted")
        if member.method not in (_STORED, _DEFLATED):
            raise self._bad(path, f"packed by method {member.method}; only 'deflate' is read")
        try:
            with open(self.path, "rb", buffering=0) as file:
                descriptor = file.fileno()
                head = os.pread(descriptor, _LOCAL.size, member.header)
                if len(head) < _LOCAL.size or head[:4] != b"PK\3\4":
                    raise self._bad(path, "the archive is damaged: no header before its data")
                name, extra = _LOCAL.unpack(head)[-2:]
                start = member.header + _LOCAL.size
                data = os.pread(descriptor, name + extra + member.packed, start)
        except OSError as error:
            raise self._bad(path, error.strerror or str(error)) from error
        if _plain(data[:name]) != path:
            raise self._bad(path, f"the archive is damaged: {_text(data[:name])} is in its place")
        data = data[name + extra :]
        if len(data) != member.packed:
            raise self._bad(path, "the archive ends before the member does")
        if member.method == _DEFLATED:
            try:  # one byte more than there should be is enough to see that there are more
                data = zlib.decompressobj(-15).decompress(data, member.size + 1)
            except zlib.error as error:
                raise self._bad(path, f"it does not unpack ({error})") from error
        if len(data) != member.size:
            raise self._bad(path, f"it unpacks to another size than its {member.size:,} bytes")
        if zlib.crc32(data) != member.crc:
            raise self._bad(path, "its checksum is wrong")
        return data

    def _bad(self, path: bytes, why: str) -> BadDataError:
        return BadDataError(
            "A member of a zip archive cannot be read.",
            archive=printable(self.path),
            member=_text(path),
            because=why,
            mend=_COPY,
        )

    def _name(self, at: int) -> tuple[bytes, int]:
        """The name of the entry at `at`, checked, and where the next entry starts."""
        try:
            entry = _ENTRY.unpack_from(self._list, at)
        except struct.error:
            raise damaged(self.path, "its list of members is cut short") from None
        lengths = entry[8:11]
        start = at + _ENTRY.size
        name = self._list[start : start + lengths[0]]
        after = start + sum(lengths)
        if entry[0] != b"PK\1\2" or after > len(self._list):
            raise damaged(self.path, "its list of members is damaged")
        plain = _plain(name)
        parts = plain.split(b"/")
        if b"\\" in name:
            raise damaged(
                self.path,
                f"it divides names by backslashes, against the format: {_text(name)!r}",
                "unpack it where it was made and pack it by another program",
            )
        if not name or b"\0" in name or (plain and not parts[0]) or b".." in parts:
            raise damaged(
                self.path,
                f"a member's name leads elsewhere: {_text(name)!r}",
                "unpack it, if you trust it, and pack what should be in it",
            )
        return plain, after

    def _base(self, at: int) -> bytes:
        start = at + _ENTRY.size
        length = int.from_bytes(self._list[at + 28 : at + 30], "little")
        return self._list[start : start + length].rpartition(b"/")[2]

    def _add_folder(self, folder: bytes) -> None:
        self.folders[folder] = {}
        above, _, base = folder.rpartition(b"/")
        if above not in self.folders:
            self._add_folder(above)
        self.folders[above][base] = None

    def _sorted(self, starts: array) -> np.ndarray:
        names = [self._base(at) for at in starts]
        order = sorted(range(len(names)), key=names.__getitem__)  # stable: a later one is behind
        return np.array(starts, np.int64)[order]

    def _member(self, at: int) -> Member:
        _, flags, method, _, _, crc, packed, size, name, extra, _, _, _, _, header = (
            _ENTRY.unpack_from(self._list, at)
        )
        start = at + _ENTRY.size + name
        wide = _zip64(self._list[start : start + extra])
        try:  # the zip64 field holds those of the three that do not fit, in this order
            size = next(wide) if size == _FULL32 else size
            packed = next(wide) if packed == _FULL32 else packed
            header = next(wide) if header == _FULL32 else header
        except StopIteration:
            raise damaged(self.path, "a zip64 member says no size or place") from None
        return Member(header + self._shift, packed, size, crc, method, flags)


def zip_index(path: str) -> ZipIndex:
    """The list of an archive's members, kept as long as the file stays what it is.

    Raises:
        MissingDataError: there is no such file.
        BadDataError: it is no zip archive, is cut short, or lists a member outside itself.
    """
    try:
        state = os.stat(path)
        return _kept(path, state.st_size, state.st_mtime_ns)
    except FileNotFoundError:
        raise MissingDataError("there is no such zip archive.", looked_for=path) from None
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error


@lru_cache(maxsize=_ARCHIVES)
def _kept(path: str, size: int, modified: int) -> ZipIndex:
    return ZipIndex(path)


def damaged(path: str, why: str, mend: str = _COPY) -> BadDataError:
    """The error for an archive that cannot be used as a whole."""
    return BadDataError(
        "A zip archive cannot be read.",
        archive=printable(path),
        because=why,
        mend=mend,
    )


def _read_list(file: BinaryIO, path: str) -> tuple[bytes, int, int]:
    """The central directory, how many entries it has, and by how much its offsets are too small.

    Offsets are too small where something was put before the archive (a self-extracting one).
    """
    size = file.seek(0, os.SEEK_END)
    tail_at = max(0, size - _END.size - _FULL16 - _LOCATOR64.size)
    file.seek(tail_at)
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + _END.size > len(tail):
        why = "it is empty" if not size else "it ends too early, or is no zip archive"
        raise damaged(path, why)
    _, disk, _, _, count, length, offset, _ = _END.unpack_from(tail, at)
    end = tail_at + at
    if _FULL16 in (disk, count) or _FULL32 in (length, offset):
        locator = at - _LOCATOR64.size
        if locator >= 0 and tail[locator : locator + 4] == b"PK\6\7":
            end = _LOCATOR64.unpack_from(tail, locator)[2]
            file.seek(end)
            record = file.read(_END64.size)
            if len(record) < _END64.size or record[:4] != b"PK\6\6":
                raise damaged(path, "its zip64 record is not where it should be")
            disk, count, length, offset = [_END64.unpack(record)[i] for i in (4, 7, 8, 9)]
    if disk:
        raise damaged(path, "it is a part of an archive in several parts; join them first")
    shift = end - length - offset
    if shift < 0:
        raise damaged(path, "its list of members is not where it should be")
    file.seek(offset + shift)
    return file.read(length), count, shift


def _zip64(extra: bytes):
    """The 64-bit numbers of a member's zip64 field, if it has one."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            numbers = extra[at + 4 : at + 4 + length]
            yield from (n for (n,) in struct.iter_unpack("<Q", numbers[: length // 8 * 8]))
            return
        at += 4 + length


def _plain(name: bytes) -> bytes:
    """A name without `.`: some programs pack `./cup/cup-1/groundtruth.txt`."""
    if not name.startswith(b".") and b"/." not in name:
        return name
    return b"/".join(part for part in name.split(b"/") if part != b".")


def _text(name: bytes) -> str:
    return printable(os.fsdecode(name))
