"""Which cores the Whisper workers and the light actors run on. A pure function of a topology.

Workers get the big cores. The kind of a core decides that and not its clock or capacity, which differ among equal cores
and only break ties. A worker's cores are all of one kind and under one L3: at each barrier of a matrix product all its
threads wait for the slowest. Of a core's hardware threads a worker uses one, since two share one multiplier. The light
actors (microphone, segmenter, bus and so on) have cores of their own wherever there are three or more, so that a
transcription never makes them wait.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any, Final

import msgspec

from bus.settings import WhisperSettings
from supervisor.topology import Cpu, Topology

PART_NAMES: Final = {"0xd85": "Cortex-X925", "0xd87": "Cortex-A725", "core": "performance", "atom": "efficient"}
BIG_KINDS: Final = {"0xd85": 2, "0xd87": 1, "core": 2, "atom": 1}
"""Rank of the kinds that are known by name; the others are ranked by capacity, then clock."""

CREW_MAX: Final = 8
"""Threads of a worker at most, unless asked for: the decoder's small products gain nothing from more."""
CREW_MIN: Final = 4
"""A second, third, ... worker is planned by itself only from this many cores on."""
KIND_MIN: Final = 3
"""Fewer big cores than this are not worth leaving many smaller ones idle."""
WORKERS_MAX: Final = 4
"""Workers planned by itself at most: each holds a model of its own in memory."""
LIGHT_SHARE: Final = 16
"""One core in this many is kept for the light actors where all cores are of one kind."""

Core = tuple[Cpu, ...]
"""A physical core: its usable logical CPUs, first the one that a worker would run on."""


class Placement(msgspec.Struct, frozen=True):
    """The plan: logical CPU numbers, rising."""

    whisper: tuple[tuple[int, ...], ...]
    """The CPU set of each worker. A worker has as many threads as its set has CPUs."""
    light: tuple[int, ...]
    """The CPU set of everything else."""
    notes: tuple[str, ...] = ()
    """Where the plan is not what was asked for."""


def plan(topology: Topology, workers: int = 0, threads: int = 0) -> Placement:
    """Place the workers. `workers` and `threads` (of each worker) as asked for; 0 means: as the machine suggests.

    There is always a worker, and as many as were asked for: once the cores run out they share. Raises ValueError for a
    topology without a usable CPU.
    """
    cores = _within_quota(_cores(topology.usable), topology.quota_cpus)
    if not cores:
        raise ValueError("no usable CPU")
    kind = _worker_kind(cores)
    big = [core for core in cores if core[0].kind == kind]
    if len(big) == len(cores):  # no smaller cores for the light actors: keep some back
        big = big[_kept_back(len(big), max(workers, 1) * max(threads, 1)) :]
    clusters = _clusters(big)
    crews = _crews(clusters, workers, threads)
    sets = tuple(crews[: workers or WORKERS_MAX])
    shared = tuple(sets[index % len(sets)] for index in range(workers or len(sets)))
    used = {number for crew in sets for number in crew}
    # The second hardware thread of a worker's core stays idle: work on it would slow the worker's barrier.
    busy = {cpu.id for core in cores if core[0].id in used for cpu in core}
    free = [cpu for cpu in topology.usable if cpu.id not in busy]
    light = [cpu for cpu in free if cpu.kind != kind] or free or topology.usable
    return Placement(shared, tuple(cpu.id for cpu in light), tuple(_notes(shared, sets, threads)))


def plan_for(topology: Topology, whisper: WhisperSettings) -> Placement:
    """Place the workers that the configuration asks for. A model on a GPU gets one worker by itself."""
    return plan(topology, whisper.workers or (0 if whisper.device == "cpu" else 1), whisper.threads)


def to_json(topology: Topology, placement: Placement) -> dict[str, Any]:
    """What `supervisor topology --json` prints."""
    return {
        "cpus": [
            {**msgspec.structs.asdict(cpu), "kind_name": PART_NAMES.get(cpu.kind, ""), "use": _use(cpu.id, placement)}
            for cpu in topology.usable
        ],
        "quota_cpus": topology.quota_cpus,
        "whisper": [{"cpus": list(crew), "threads": len(crew)} for crew in placement.whisper],
        "light": list(placement.light),
        "notes": list(placement.notes),
    }


def _use(number: int, placement: Placement) -> str:
    uses = [f"whisper-{index}" for index, crew in enumerate(placement.whisper, 1) if number in crew]
    return ", ".join(uses + ["light"] * (number in placement.light)) or "idle"


def _cores(cpus: tuple[Cpu, ...]) -> list[Core]:
    """The physical cores, by their first CPU. Hardware threads of a core are no cores."""
    groups: dict[tuple[int, ...], list[Cpu]] = defaultdict(list)
    for cpu in cpus:
        groups[cpu.siblings or (cpu.id,)].append(cpu)
    return sorted((tuple(group) for group in groups.values()), key=lambda core: core[0].id)


def _within_quota(cores: list[Core], quota_cpus: float | None) -> list[Core]:
    """Only as many cores as the control group pays for: more threads would be stopped in the middle of a barrier."""
    if quota_cpus is None or quota_cpus >= len(cores):
        return cores
    ranks = {core[0].kind: _rank(core[0].kind, cores) for core in cores}
    best = sorted(cores, key=lambda core: (ranks[core[0].kind], core[0].l3_bytes, core[0].capacity), reverse=True)
    return sorted(best[: max(1, math.ceil(quota_cpus))], key=lambda core: core[0].id)


def _rank(kind: str, cores: list[Core]) -> tuple[int, int, int]:
    alike = [core[0] for core in cores if core[0].kind == kind]
    return BIG_KINDS.get(kind, 0), max(cpu.capacity for cpu in alike), max(cpu.max_khz for cpu in alike)


def _worker_kind(cores: list[Core]) -> str:
    """The biggest kind of which there are enough; of too few cores of each kind, the biggest."""
    kinds = sorted({core[0].kind for core in cores}, key=lambda kind: _rank(kind, cores), reverse=True)
    enough = [kind for kind in kinds if sum(core[0].kind == kind for core in cores) >= KIND_MIN]
    return (enough or kinds)[0]


def _kept_back(count: int, wanted: int) -> int:
    """How many of `count` equal cores are left to the light actors, where `wanted` cores were asked for by the user.

    They are the lowest, since the kernel's own work is there too.
    """
    share = 0 if count < KIND_MIN else math.ceil(count / LIGHT_SHARE)
    return min(share, max(0, count - wanted))


def _clusters(cores: list[Core]) -> list[list[Core]]:
    """Cores by L3, best cluster first; within a cluster the fastest first, so that neighbours in the list are alike."""
    groups: dict[tuple[int, tuple[int, ...]], list[Core]] = defaultdict(list)
    for core in cores:
        groups[core[0].package, core[0].l3].append(core)
    clusters = list(groups.values())
    if max(len(cluster) for cluster in clusters) < min(KIND_MIN, len(cores)):
        clusters = [cores]  # virtual machines often tell of an L3 for each CPU
    for cluster in clusters:
        cluster.sort(key=lambda core: (-core[0].capacity, -core[0].max_khz, core[0].id))
    return sorted(clusters, key=_cluster_order)


def _cluster_order(cluster: list[Core]) -> tuple[int, int, int, int, int]:
    best = cluster[0][0]
    return -best.l3_bytes, -best.capacity, -best.max_khz, -len(cluster), best.id


def _crews(clusters: list[list[Core]], workers: int, threads: int) -> list[tuple[int, ...]]:
    """CPU sets for workers, best first, at least one. None spans two clusters."""
    largest = max(len(cluster) for cluster in clusters)
    if threads:
        sizes = [min(threads, largest)] * len(clusters)
    elif workers:
        fitting = (size for size in range(min(CREW_MAX, largest), 1, -1) if _fit(clusters, size) >= workers)
        sizes = [next(fitting, 1)] * len(clusters)
    else:
        floor = min(CREW_MIN, largest)
        sizes = [len(cluster) // math.ceil(len(cluster) / CREW_MAX) for cluster in clusters]
        sizes = [size if size >= floor else len(cluster) + 1 for size, cluster in zip(sizes, clusters, strict=True)]
    return [
        tuple(sorted(core[0].id for core in cluster[first : first + size]))
        for cluster, size in zip(clusters, sizes, strict=True)
        for first in range(0, len(cluster) - size + 1, size)
    ]


def _fit(clusters: list[list[Core]], size: int) -> int:
    """How many crews of a size the clusters hold."""
    return sum(len(cluster) // size for cluster in clusters)


def _notes(shared: tuple[tuple[int, ...], ...], sets: tuple[tuple[int, ...], ...], threads: int) -> list[str]:
    notes = []
    if threads > len(sets[0]):
        notes.append(f"{threads} threads asked for, {len(sets[0])} given: no more cores of one kind share a cache")
    if len(shared) > len(sets):
        notes.append(f"{len(shared)} workers share {len(sets)} core sets: there are no more cores for them")
    return notes
