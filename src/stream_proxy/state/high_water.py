"""What was handed out last, noted beside the journal, so that a lost end is noticed.

SQLite takes a log whose end is damaged for one that ends earlier: right after a power failure,
where the end was never vouched for, and wrong if a bit flipped in what was. This note tells the
two apart. It is written behind each commit and never synchronised: after a power failure it may be
older than the journal, or gone, which proves nothing; it is newer only if the journal has lost
commits that had returned.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from zlib import crc32

_BLOCK_BYTES = 512


class HighWater:
    """The number of commits, and the last sequences handed out.

    Args:
        read: gives the note's bytes, or raises OSError.
        write: replaces them.
        close: lets go of the file.
    """

    def __init__(
        self,
        read: Callable[[], bytes],
        write: Callable[[bytes], object],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._read = read
        self._write = write
        self.close = close
        self.commits = 0
        self.sequences: dict[str, int] = {}

    @classmethod
    def beside(cls, path: Path) -> HighWater:
        """The note of the journal at this path."""
        note = note_path(path)
        file = _NoteFile(note)
        return cls(note.read_bytes, file.write, file.close)

    def load(self) -> None:
        """Read what was noted last; a half-written note counts for nothing."""
        try:
            body, _, checksum = self._read().strip().rpartition(b" ")
        except OSError:
            return
        if checksum == b"%08x" % crc32(body):
            noted = json.loads(body)
            self.commits, self.sequences = noted["commits"], noted["sequences"]

    def note(self, commits: int, sequences: Mapping[str, int]) -> None:
        """Note that this many commits have returned.

        Raises:
            OSError: it couldn't be written; the journal holds without it.
        """
        self.commits = commits
        self.sequences.update(sequences)
        body = json.dumps({"commits": commits, "sequences": self.sequences}).encode()
        self._write(body + b" %08x\n" % crc32(body))


class _NoteFile:
    """Overwrites in place: a file that is truncated and written anew takes 50 times as long, and
    makes the journal's next synchronisation wait for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._bytes = 0

    def write(self, note: bytes) -> None:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            self._bytes = os.fstat(self._descriptor).st_size
        self._bytes = max(self._bytes, -(-len(note) // _BLOCK_BYTES) * _BLOCK_BYTES)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, note.ljust(self._bytes))

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def note_path(path: Path) -> Path:
    """Where the note of a journal lies."""
    return path.with_name(path.name + ".high")
