"""What was handed out last, noted beside the journal, so that a lost end is noticed.

SQLite takes a log whose end is damaged for one that ends earlier: right after a power failure,
where the end was never vouched for, and wrong if a bit flipped in what was. This note tells the
two apart. It is written behind each commit and never synchronised: after a power failure it may be
older than the journal, or gone, which proves nothing; it is newer only if the journal has lost
commits that had returned.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from zlib import crc32


class HighWater:
    """The number of commits, and the last sequences handed out.

    Args:
        read: gives the note's bytes, or raises OSError.
        write: replaces them.
    """

    def __init__(self, read: Callable[[], bytes], write: Callable[[bytes], object]) -> None:
        self._read = read
        self._write = write
        self.commits = 0
        self.sequences: dict[str, int] = {}

    @classmethod
    def beside(cls, path: Path) -> HighWater:
        """The note of the journal at this path."""
        note = note_path(path)
        return cls(note.read_bytes, note.write_bytes)

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


def note_path(path: Path) -> Path:
    """Where the note of a journal lies."""
    return path.with_name(path.name + ".high")
