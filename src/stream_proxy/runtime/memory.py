"""Memory of a program that runs for months: what is kept, and what is not looked through again."""

from __future__ import annotations

import gc

_LARGEST_BYTES = 16 << 20


def keep_freed_memory() -> None:
    """Let the C library hold on to freed buffers of up to 16 MiB instead of unmapping them.

    The hot path frees and needs the same half megabytes all the time.

    By default glibc gives buffers above 128 KiB back to the kernel, and each new one costs a page
    fault per 4 KiB: measured, a third of the time that a batch for one consumer takes. Freeing one
    large buffer raises that bound (mallopt(3), ``M_MMAP_THRESHOLD``: "dynamic"). Other C libraries
    don't mind.
    """
    bytearray(_LARGEST_BYTES)


def freeze_what_stays() -> None:
    """Leave what was made so far, modules above all, out of garbage collection.

    It lives as long as the program does. Looking through it costs 100 ms whenever many consumers
    have come and gone, and nothing is delivered meanwhile.
    """
    gc.collect()
    gc.freeze()
