"""How many cores this process may use, in a container too.

Ours instead of joblib's, which takes as long to import as a small model takes to open and would
bring pickles into the base installation.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

# Quota and period in microseconds: one file under cgroup v2 ("max" where unlimited), two under v1.
_QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the cores of the process's affinity, at most the container's CPU quota, rounded up."""
    # Only Linux tells which cores this process may use.
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    for names in _QUOTAS:
        try:
            quota, period = " ".join((cgroup / name).read_text() for name in names).split()
            if int(quota) > 0:  # -1 is unlimited under v1
                cores = min(cores, math.ceil(int(quota) / int(period)))
        except (OSError, ValueError, ZeroDivisionError):  # no such file, or no quota in it
            continue
    return max(1, cores)
