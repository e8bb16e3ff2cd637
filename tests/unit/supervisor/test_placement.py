"""Placement on recorded machines (tests/data/topologies), and its promises on any machine."""

import json
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.settings import WhisperSettings
from supervisor.placement import CREW_MAX, Placement, plan, plan_for, to_json
from supervisor.topology import Cpu, Topology, parse_cpu_list

DATA = Path(__file__).parents[2] / "data" / "topologies"
MACHINES = sorted(path.stem for path in DATA.glob("*.json"))


def machine(name: str, allowed: Iterable[int] | None = None, quota_cpus: float | None = None) -> Topology:
    topology = msgspec.json.decode((DATA / f"{name}.json").read_bytes(), type=Topology)
    return Topology(topology.cpus, topology.allowed if allowed is None else tuple(allowed), quota_cpus)


def workers(*lists: str) -> tuple[tuple[int, ...], ...]:
    return tuple(parse_cpu_list(text) for text in lists)


def test_dgx_spark_gets_two_workers_of_five_x925_the_ones_with_the_larger_cache_first() -> None:
    assert plan(machine("dgx-spark-gb10")) == Placement(workers("15-19", "5-9"), parse_cpu_list("0-4,10-14"))


def test_dgx_spark_with_one_worker_gives_it_the_better_cluster_and_keeps_light_actors_on_a725() -> None:
    assert plan(machine("dgx-spark-gb10"), workers=1) == Placement(workers("15-19"), parse_cpu_list("0-4,10-14"))


def test_dgx_spark_capacity_breaks_ties_but_never_makes_a_kind() -> None:
    topology = machine("dgx-spark-gb10")
    assert len({cpu.capacity for cpu in topology.cpus}) == 5
    level = tuple(msgspec.structs.replace(cpu, capacity=0, max_khz=0) for cpu in topology.cpus)
    assert plan(Topology(level, topology.allowed)) == plan(topology)


def test_dgx_spark_without_cache_information_still_separates_the_kinds() -> None:
    topology = machine("dgx-spark-gb10")
    blind = tuple(msgspec.structs.replace(cpu, l3=(), l3_bytes=0) for cpu in topology.cpus)
    placement = plan(Topology(blind, topology.allowed))
    assert {number for crew in placement.whisper for number in crew} == set(parse_cpu_list("5-9,15-19"))
    assert placement.light == parse_cpu_list("0-4,10-14")


def test_a_large_server_gets_several_workers_each_under_one_cache_and_keeps_cores_for_the_rest() -> None:
    placement = plan(machine("server-64-cores"))
    assert placement.whisper == workers("8-15", "16-23", "24-31", "32-39")
    assert set(placement.light) == set(parse_cpu_list("0-7,40-71,104-127"))


def test_the_second_hardware_thread_of_a_workers_core_stays_idle() -> None:
    topology = machine("server-64-cores")
    placement = plan(topology)
    busy = {number for cpu in topology.cpus for number in cpu.siblings if cpu.id in sum(placement.whisper, ())}
    assert busy.isdisjoint(placement.light)


def test_two_cores_are_one_worker_and_the_light_actors_share_them() -> None:
    assert plan(machine("vm-2-cores")) == Placement(workers("0-1"), parse_cpu_list("0-1"))


@pytest.mark.parametrize("name", ["raspberry-pi-4", "raspberry-pi-5"])
def test_a_raspberry_pi_gets_one_worker_of_three_cores(name: str) -> None:
    assert plan(machine(name)) == Placement(workers("1-3"), parse_cpu_list("0"))


def test_a_hybrid_intel_machine_whispers_on_performance_cores_one_thread_each() -> None:
    assert plan(machine("hybrid-intel-6p-8e")) == Placement(workers("0,2,4,6,8,10"), parse_cpu_list("12-19"))


def test_only_allowed_cpus_are_used() -> None:
    assert plan(machine("dgx-spark-gb10", range(10))) == Placement(workers("5-9"), parse_cpu_list("0-4"))


def test_too_few_big_cores_are_no_crew() -> None:
    placement = plan(machine("dgx-spark-gb10", parse_cpu_list("0-4,18-19")))
    assert placement == Placement(workers("0-4"), parse_cpu_list("18-19"))


def test_a_worker_may_run_on_the_second_hardware_thread_when_only_that_is_allowed() -> None:
    assert plan(machine("hybrid-intel-6p-8e", (1, 3, 5, 12))) == Placement(workers("1,3,5"), parse_cpu_list("12"))


def test_a_container_with_a_quota_gets_no_more_cores_than_it_pays_for() -> None:
    placement = plan(machine("server-64-cores", quota_cpus=3.5))
    assert sum(len(crew) for crew in placement.whisper) == 3
    assert plan(machine("server-64-cores", quota_cpus=0.5)).whisper == workers("0")


def test_a_virtual_machine_that_tells_of_a_cache_for_each_cpu_still_gets_a_whole_crew() -> None:
    topology = Topology(tuple(Cpu(n, package=n, siblings=(n,), l3=(n,)) for n in range(4)), (0, 1, 2, 3))
    assert plan(topology) == Placement(workers("1-3"), parse_cpu_list("0"))


def test_an_unknown_machine_is_taken_to_have_plain_cores() -> None:
    assert plan(Topology((), tuple(range(8)))) == Placement(workers("1-7"), parse_cpu_list("0"))


def test_a_single_cpu_does_everything() -> None:
    assert plan(Topology((), (3,))) == Placement(((3,),), (3,))


def test_no_cpu_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="no usable CPU"):
        plan(Topology((), ()))


def test_threads_asked_for_go_before_a_share_for_the_light_actors() -> None:
    assert plan(machine("raspberry-pi-5"), workers=1, threads=4) == Placement(workers("0-3"), parse_cpu_list("0-3"))


def test_more_threads_than_one_cache_has_cores_are_cut_and_it_is_said() -> None:
    placement = plan(machine("dgx-spark-gb10"), workers=1, threads=10)
    assert placement.whisper == workers("15-19")
    assert placement.notes == ("10 threads asked for, 5 given: no more cores of one kind share a cache",)


def test_more_workers_than_cores_share_and_it_is_said() -> None:
    placement = plan(machine("vm-2-cores"), workers=3)
    assert placement.whisper == workers("0", "1", "0")
    assert placement.notes == ("3 workers share 2 core sets: there are no more cores for them",)


def test_a_model_on_the_gpu_gets_one_worker_by_itself() -> None:
    topology = machine("dgx-spark-gb10")
    assert len(plan_for(topology, WhisperSettings(device="cuda")).whisper) == 1
    assert len(plan_for(topology, WhisperSettings(device="cuda", workers=2)).whisper) == 2
    assert len(plan_for(topology, WhisperSettings()).whisper) == 2


@pytest.mark.parametrize("name", MACHINES)
def test_the_plan_as_json_names_the_use_of_every_cpu(name: str) -> None:
    topology = machine(name)
    told = json.loads(json.dumps(to_json(topology, plan(topology))))
    assert [cpu["id"] for cpu in told["cpus"]] == list(topology.allowed)
    assert {cpu["id"] for cpu in told["cpus"] if "light" in cpu["use"]} == set(told["light"])
    assert all(worker["threads"] == len(worker["cpus"]) for worker in told["whisper"])


@given(st.sampled_from(MACHINES), st.data(), st.integers(0, 5), st.integers(0, 12), st.none() | st.floats(0.1, 70))
def test_the_promises_hold_on_any_part_of_any_machine(
    name: str, data: st.DataObject, workers: int, threads: int, quota_cpus: float | None
) -> None:
    allowed = data.draw(st.sets(st.sampled_from(machine(name).allowed), min_size=1))
    topology = machine(name, sorted(allowed), quota_cpus)
    placement = plan(topology, workers, threads)
    by_id = {cpu.id: cpu for cpu in topology.cpus}
    assert len(placement.whisper) == workers if workers else placement.whisper
    assert placement.light
    assert set(placement.light) <= allowed
    crews = set(placement.whisper)
    assert sum(len(crew) for crew in crews) == len({number for crew in crews for number in crew}), "crews are apart"
    for crew in crews:
        assert 0 < len(crew) <= max(CREW_MAX, threads)
        assert set(crew) <= allowed
        assert len({by_id[number].kind for number in crew}) == 1
        assert len({by_id[number].siblings for number in crew}) == len(crew)
        if topology.quota_cpus is not None:
            assert len(crew) < topology.quota_cpus + 1


@given(st.sampled_from(MACHINES), st.data())
def test_light_actors_share_no_core_with_a_worker_where_there_are_three(name: str, data: st.DataObject) -> None:
    allowed = data.draw(st.sets(st.sampled_from(machine(name).allowed), min_size=1))
    topology = machine(name, sorted(allowed))
    siblings = {cpu.id: cpu.siblings for cpu in topology.cpus}
    if len({siblings[number] for number in allowed}) < 3:
        return
    placement = plan(topology)
    working = {siblings[number] for crew in placement.whisper for number in crew}
    assert working.isdisjoint({siblings[number] for number in placement.light})
