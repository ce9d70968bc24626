"""Keep memory that was freed: the hot path frees and needs the same half megabytes all the time."""

from __future__ import annotations

_LARGEST_BYTES = 16 << 20


def keep_freed_memory() -> None:
    """Let the C library hold on to freed buffers of up to 16 MiB instead of unmapping them.

    By default glibc gives buffers above 128 KiB back to the kernel, and each new one costs a page
    fault per 4 KiB: measured, a third of the time that a batch for one consumer takes. Freeing one
    large buffer raises that bound (mallopt(3), ``M_MMAP_THRESHOLD``: "dynamic"). Other C libraries
    don't mind.
    """
    bytearray(_LARGEST_BYTES)
