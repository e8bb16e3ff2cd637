"""Reading the machine: /proc and sysfs as they are, and as they are not."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.topology import Cpu, Topology, format_cpu_list, parse_cpu_list, read_topology, this_machine

CPU = "sys/devices/system/cpu/cpu"


def make(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def arm_cpu(number: int, part: str, l3: str, capacity: int) -> dict[str, str]:
    here = f"{CPU}{number}"
    return {
        f"{here}/topology/physical_package_id": "0\n",
        f"{here}/topology/thread_siblings_list": f"{number}\n",
        f"{here}/cache/index0/level": "1\n",
        f"{here}/cache/index0/shared_cpu_list": f"{number}\n",
        f"{here}/cache/index3/level": "3\n",
        f"{here}/cache/index3/shared_cpu_list": f"{l3}\n",
        f"{here}/cache/index3/size": "16384K\n",
        f"{here}/cpu_capacity": f"{capacity}\n",
        f"{here}/cpufreq/cpuinfo_max_freq": "4004000\n",
    }


def test_an_arm_machine_tells_the_part_the_cache_and_the_speed_of_each_core(tmp_path: Path) -> None:
    cpuinfo = "processor\t: 0\nBogoMIPS\t: 2000.00\nCPU part\t: 0xd87\n\nprocessor\t: 1\nCPU implementer\t: 0x41\nCPU part\t: 0xD85\n"
    files = {"proc/cpuinfo": cpuinfo} | arm_cpu(0, "0xd87", "0-1", 700) | arm_cpu(1, "0xd85", "0-1", 1024)
    topology = read_topology(make(tmp_path, files), frozenset({0, 1}))
    assert topology == Topology(
        (
            Cpu(0, "0xd87", 0, (0,), (0, 1), 16 << 20, 700, 4_004_000),
            Cpu(1, "0xd85", 0, (1,), (0, 1), 16 << 20, 1024, 4_004_000),
        ),
        (0, 1),
    )


def test_a_hybrid_intel_machine_tells_its_kinds_by_its_performance_monitors(tmp_path: Path) -> None:
    files = {
        "proc/cpuinfo": "".join(f"processor\t: {number}\nmodel name\t: Core\n\n" for number in range(4)),
        "sys/devices/cpu_core/cpus": "0-1\n",
        "sys/devices/cpu_atom/cpus": "2-3\n",
        f"{CPU}0/topology/thread_siblings_list": "0-1\n",
    }
    topology = read_topology(make(tmp_path, files), frozenset(range(4)))
    assert [cpu.kind for cpu in topology.cpus] == ["core", "core", "atom", "atom"]
    assert topology.cpus[0].siblings == (0, 1)


def test_a_container_without_proc_and_sysfs_still_has_its_allowed_cpus(tmp_path: Path) -> None:
    topology = read_topology(tmp_path, frozenset({2, 5}))
    assert topology.usable == (Cpu(2), Cpu(5))
    assert topology.quota_cpus is None


def test_cpus_that_may_not_be_used_are_known_but_not_usable(tmp_path: Path) -> None:
    make(tmp_path, {"proc/cpuinfo": "processor: 0\nprocessor: 1\nprocessor: 2\n"})
    topology = read_topology(tmp_path, frozenset({1}))
    assert [cpu.id for cpu in topology.cpus] == [0, 1, 2]
    assert topology.usable == (Cpu(1),)


@pytest.mark.parametrize(("text", "quota"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("0 0\n", None), ("nonsense", None)])
def test_the_quota_of_a_container_is_read(tmp_path: Path, text: str, quota: float | None) -> None:
    make(tmp_path, {"sys/fs/cgroup/cpu.max": text})
    assert read_topology(tmp_path, frozenset({0})).quota_cpus == quota


def test_nonsense_in_sysfs_is_left_out(tmp_path: Path) -> None:
    files = {
        "proc/cpuinfo": "processor\t: zero\nCPU part\t: 0xd85\n\xff\n",
        f"{CPU}0/topology/physical_package_id": "-1",
        f"{CPU}0/cache/index3/level": "3",
        f"{CPU}0/cache/index3/size": "much",
        f"{CPU}0/cpu_capacity": "",
    }
    assert read_topology(make(tmp_path, files), frozenset({0})).cpus == (Cpu(0),)


def test_this_machine_can_be_read() -> None:
    topology = this_machine()
    assert {cpu.id for cpu in topology.usable} == os.sched_getaffinity(0)
    assert all(cpu.id in (cpu.siblings or (cpu.id,)) for cpu in topology.cpus)


@given(st.sets(st.integers(0, 300)))
def test_a_cpu_list_reads_back_as_it_was_written(numbers: set[int]) -> None:
    assert parse_cpu_list(format_cpu_list(tuple(sorted(numbers)))) == tuple(sorted(numbers))


def test_a_cpu_list_is_written_as_the_kernel_does() -> None:
    assert format_cpu_list((0, 1, 2, 3, 4, 10, 12, 13)) == "0-4,10,12-13"
