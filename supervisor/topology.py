"""What the machine's processors are: which kind each core is, which cores share a cache, which are threads of one core.

Read from /proc/cpuinfo and sysfs under a root that is handed in. What a machine does not tell (containers hide sysfs,
x86 has no part numbers) stays empty, and the planner gets along without. As JSON, a `Topology` is a recorded machine.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

import msgspec

CPUS = "sys/devices/system/cpu"


class Cpu(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One logical CPU."""

    id: int
    kind: str = ""
    """Cores of one kind are alike: Arm's CPU part (`0xd85`), Intel's `core` or `atom`; empty where all are the same."""
    package: int = 0
    siblings: tuple[int, ...] = ()
    """The logical CPUs of the same core, itself among them; empty means just itself."""
    l3: tuple[int, ...] = ()
    """The logical CPUs that share its L3; empty: none, or not told."""
    l3_bytes: int = 0
    capacity: int = 0
    """Relative speed, 1024 for the fastest core; 0: not told."""
    max_khz: int = 0
    """Highest clock; 0: not told."""


class Topology(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The logical CPUs of a machine, and which of them may be used."""

    cpus: tuple[Cpu, ...]
    """By id, rising; those that may not be used among them."""
    allowed: tuple[int, ...]
    """The affinity of this process."""
    quota_cpus: float | None = None
    """CPU time that the control group grants, in CPUs; None: unlimited."""

    @property
    def usable(self) -> tuple[Cpu, ...]:
        """The CPUs that may be used. One that /proc does not list is taken to be plain."""
        known = {cpu.id: cpu for cpu in self.cpus}
        return tuple(known.get(number, Cpu(number)) for number in sorted(self.allowed))


def this_machine() -> Topology:
    """The topology of this machine, for this process."""
    return read_topology(Path("/"), frozenset(os.sched_getaffinity(0)))


def read_topology(root: Path, allowed: frozenset[int]) -> Topology:
    """Read the topology below `root` (`/` for a live machine). Never raises: what cannot be read is left out."""
    parts = _parts(_text(root / "proc/cpuinfo"))
    kinds = parts | _intel_kinds(root)
    cpus = tuple(_cpu(root, number, kinds.get(number, "")) for number in sorted(parts.keys() | allowed))
    return Topology(cpus, tuple(sorted(allowed)), _quota_cpus(root))


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """The kernel's list format, `0-4,10` for (0, 1, 2, 3, 4, 10). Anything else in it is passed over."""
    numbers: set[int] = set()
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        numbers.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(numbers))


def format_cpu_list(numbers: tuple[int, ...]) -> str:
    """The inverse of `parse_cpu_list`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _parts(cpuinfo: str) -> dict[int, str]:
    """CPU number to Arm part; x86 has processors and no parts."""
    parts: dict[int, str] = {}
    number = -1
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "processor" and value.strip().isdecimal():
            number = int(value)
            parts[number] = ""
        elif name.strip() == "CPU part" and number >= 0:
            parts[number] = value.strip().lower()
    return parts


def _intel_kinds(root: Path) -> dict[int, str]:
    """The two kinds of a hybrid Intel processor, as its two performance monitors list them."""
    return {number: kind for kind in ("core", "atom") for number in parse_cpu_list(_text(root / f"sys/devices/cpu_{kind}/cpus"))}


def _cpu(root: Path, number: int, kind: str) -> Cpu:
    folder = root / CPUS / f"cpu{number}"
    l3, l3_bytes = _l3(folder)
    return Cpu(
        id=number,
        kind=kind,
        package=max(_number(folder / "topology/physical_package_id"), 0),  # -1 where the kernel does not know
        siblings=parse_cpu_list(_text(folder / "topology/thread_siblings_list")),
        l3=l3,
        l3_bytes=l3_bytes,
        capacity=_number(folder / "cpu_capacity"),
        max_khz=_number(folder / "cpufreq/cpuinfo_max_freq"),
    )


def _l3(folder: Path) -> tuple[tuple[int, ...], int]:
    for index in sorted((folder / "cache").glob("index*")):
        if _text(index / "level").strip() == "3":
            return parse_cpu_list(_text(index / "shared_cpu_list")), _size_bytes(_text(index / "size"))
    return (), 0


def _size_bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMG]?)", text.strip())
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]] if match else 0


def _quota_cpus(root: Path) -> float | None:
    """What a container was given with `--cpus`: cgroup version 2, as it looks from inside."""
    match = re.match(r"(\d+) (\d+)", _text(root / "sys/fs/cgroup/cpu.max"))
    quota = int(match[1]) / int(match[2]) if match and int(match[2]) else math.inf
    return quota if 0 < quota < math.inf else None


def _number(path: Path) -> int:
    text = _text(path).strip()
    return int(text) if re.fullmatch(r"-?\d+", text) else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
