"""Number of CPU cores available to this process, including container quotas.

Instead of joblib's, whose import takes as long as opening a small model, and which would add
pickle-based code to the base installation.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

# Quota and period in microseconds: one file under cgroup v2 ("max" where unlimited), two under v1.
_QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the size of the CPU affinity set, limited by the cgroup's CPU quota (rounded up)."""
    # CPU affinity is available on Linux only.
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    for names in _QUOTAS:
        try:
            quota, period = " ".join((cgroup / name).read_text() for name in names).split()
            if int(quota) > 0:  # -1 is unlimited under v1
                cores = min(cores, math.ceil(int(quota) / int(period)))
        except (OSError, ValueError, ZeroDivisionError):  # no such file, or no quota
            continue
    return max(1, cores)
