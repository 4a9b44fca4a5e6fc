"""Keep the process's memory near what is in use, so that its peak is no lasting state."""

from __future__ import annotations

import ctypes
import sys

# From glibc's malloc.h.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_LARGE_BYTES = 2**20
_ARENAS = 2


def return_freed_memory() -> None:
    """Make glibc give freed pictures back to the system; does nothing on another C library.

    By itself it raises its threshold for separate mappings to the largest block it has seen
    freed, up to 32 MiB, and keeps such blocks in one heap a thread, where they fragment.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    libc.mallopt(_M_ARENA_MAX, _ARENAS)
