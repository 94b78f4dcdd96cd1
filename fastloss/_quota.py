"""The CPU quota of the container that the process runs in."""

import math
from pathlib import Path


def cpu_quota(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """CPUs that the process's control groups (versions 1 and 2) grant it, rounded up; None where nothing limits it."""
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return None
    granted = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, read = root, _read_v2
        elif "cpu" in controllers.split(","):
            base, read = root / controllers, _read_v1
        else:
            continue
        # A limit of any group above holds too. In a container the path may lead out of what is mounted.
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):
            granted.append(read(folder))
            if folder == base:
                break
    limits = [cpus for cpus in granted if cpus is not None]
    return max(1, math.ceil(min(limits))) if limits else None


def _read_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _read_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return None if quota <= 0 else quota / int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
