"""A checksum at the end of every database page, so that no flipped bit is ever read as truth.

SQLite believes its disk. This layer between SQLite and the file system (a VFS) writes eight bytes
behind each page of the main database and compares them on each read. The write-ahead log needs
none: its frames have checksums of their own (SQLite file format, sections 1.3.3 and 4.1).
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

import apsw

RESERVED_BYTES = 8
PAGE_BYTES = 4096


class ChecksumVFS(apsw.VFS):
    """Opens databases whose pages are checked; everything else as the base does.

    Args:
        name: under which connections ask for it.
        base: the VFS that does the work; empty for the system's own.
    """

    def __init__(self, name: str, base: str = "") -> None:
        self._base = base
        super().__init__(name, base)

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        if flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            return _CheckedFile(self._base, name, flags)
        return super().xOpen(name, flags)


class _CheckedFile(apsw.VFSFile):
    def xRead(self, amount: int, offset: int) -> bytes:
        data: bytes = super().xRead(amount, offset)
        if amount == PAGE_BYTES and offset % PAGE_BYTES == 0 and not page_is_sound(data):
            raise apsw.CorruptError(f"the page at byte {offset} has changed on the disk")
        return data

    def xWrite(self, data: bytes, offset: int) -> None:
        if len(data) == PAGE_BYTES and offset % PAGE_BYTES == 0:
            data = data[:-RESERVED_BYTES] + page_checksum(data)
        super().xWrite(data, offset)


def page_checksum(page: bytes) -> bytes:
    """The eight bytes that belong behind a page: its CRC-32 from two different starts."""
    body = page[:-RESERVED_BYTES]
    return crc32(body).to_bytes(4, "big") + crc32(body, 0x5A5A5A5A).to_bytes(4, "little")


def page_is_sound(page: bytes) -> bool:
    """Whether a page is as it was written."""
    return len(page) == PAGE_BYTES and page[-RESERVED_BYTES:] == page_checksum(page)
