"""What this machine offers: CPUs, memory, GPUs and descriptors, as kernel and container limit them.

Place: the ground; read by `_node` when the user does not say. Reads /proc, /sys and /dev, and changes nothing
but this process's descriptors and their limit; starts no program. Every
function has an answer on any Linux.
"""

from __future__ import annotations

import os
import re

from cyray._os.files import read_text

_CGROUP_ROOT = "/sys/fs/cgroup"
_ENOUGH_DESCRIPTORS = 65_536


def cpu_count() -> int:
    """CPUs that this process may use: its affinity, cut by the quotas of its cgroups."""
    allowed = len(os.sched_getaffinity(0))
    quota = _cpu_quota()
    if quota is not None:
        allowed = min(allowed, max(1, int(quota)))
    return max(1, allowed)


def available_memory_bytes() -> int:
    """Bytes that can be used without swapping: MemAvailable, cut by the cgroups' limits."""
    available = _meminfo("MemAvailable")
    for folder in _cgroup_folders():
        limit = _integer(os.path.join(folder, "memory.max"))
        if limit is not None:
            used = _integer(os.path.join(folder, "memory.current")) or 0
            # The page cache counts as used and can be had back.
            cache = re.search(r"^inactive_file (\d+)", read_text(f"{folder}/memory.stat"), re.M)
            used -= min(used, int(cache.group(1)) if cache else 0)
            available = min(available, max(0, limit - used))
    limit = _integer(f"{_CGROUP_ROOT}/memory/memory.limit_in_bytes")
    if limit is not None:
        used = _integer(f"{_CGROUP_ROOT}/memory/memory.usage_in_bytes") or 0
        available = min(available, max(0, limit - used))
    return available


def total_memory_bytes() -> int:
    """Bytes of memory that the machine has."""
    return _meminfo("MemTotal")


def _meminfo(name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB", read_text("/proc/meminfo"), re.M)
    return int(match.group(1)) * 1024 if match else 0


def fill_standard_descriptors() -> None:
    """Puts /dev/null where stdin, stdout or stderr are closed, as services start programs: a socket of ours with
    such a number would get what a library prints, and a child's stream would take its place."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(
                os.open("/dev/null", os.O_RDWR), True
            )  # the lowest that is free: this one


def raise_descriptor_limit() -> None:
    """Lets this process have as many descriptors as it may: each actor that it calls is a socket."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH_DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    wanted = min(wanted, _ENOUGH_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def gpu_count() -> int:
    """NVIDIA GPUs here, at most as many as a set CUDA_VISIBLE_DEVICES names."""
    try:
        present = sum(bool(re.fullmatch(r"nvidia\d+", name)) for name in os.listdir("/dev"))
    except OSError:
        present = 0
    visible = visible_devices("CUDA_VISIBLE_DEVICES")
    return present if visible is None else min(present, len(visible))


def visible_devices(variable: str) -> list[str] | None:
    """The entries of CUDA_VISIBLE_DEVICES or of another such variable; None when it is not set."""
    value = os.environ.get(variable)
    if value is None:
        return None
    entries = []
    for entry in (part.strip() for part in value.split(",")):
        if not entry or entry in ("-1", "NoDevFiles"):  # CUDA stops at the first invalid one.
            break
        entries.append(entry)
    return entries


def gpu_model() -> str | None:
    """The short name of the first NVIDIA GPU ("V100", "A100", "H200"), as `accelerator_type`."""
    folder = "/proc/driver/nvidia/gpus"
    try:
        devices = sorted(os.listdir(folder))
    except OSError:
        return None
    for device in devices:
        match = re.search(r"^Model:\s*(.+)$", read_text(f"{folder}/{device}/information"), re.M)
        if match:
            return short_gpu_model(match.group(1))
    return None


def short_gpu_model(text: str) -> str | None:
    """ "Tesla V100-SXM2-16GB" -> "V100", "NVIDIA A100 80GB PCIe" -> "A100"."""
    words = re.sub(r"\b(NVIDIA|Tesla|GeForce|Quadro|Graphics Device)\b", " ", text).split()
    for word in words:
        match = re.match(r"[A-Z]+\d+[A-Za-z]*", word)
        if match:
            return match.group(0)
    return "-".join(words) or None


def _cpu_quota() -> float | None:
    quotas = []
    for folder in _cgroup_folders():
        parts = read_text(os.path.join(folder, "cpu.max")).split()
        if len(parts) == 2 and parts[0].isdigit() and int(parts[1]):
            quotas.append(int(parts[0]) / int(parts[1]))
    quota = _integer(f"{_CGROUP_ROOT}/cpu/cpu.cfs_quota_us")
    period = _integer(f"{_CGROUP_ROOT}/cpu/cpu.cfs_period_us")
    if quota and period and quota > 0:
        quotas.append(quota / period)
    return min(quotas, default=None)


def _cgroup_folders() -> list[str]:
    """The folders of this process's cgroup and its parents (version 2)."""
    for line in read_text("/proc/self/cgroup").splitlines():
        if line.startswith("0::"):
            path = line[3:].strip("/")
            folders = [_CGROUP_ROOT]
            for part in path.split("/") if path else ():
                folders.append(os.path.join(folders[-1], part))
            return folders
    return []


def _integer(path: str) -> int | None:
    text = read_text(path).strip()
    return int(text) if text.lstrip("-").isdigit() else None
