"""All children together: the way up and the way down, with scripted processes."""

import signal
from collections.abc import Sequence

from supervisor.children import Child
from supervisor.crew import GIVE_UP_S, Crew
from supervisor.restart import RestartLimits
from supervisor.states import State
from supervisor.ward import Patience, Ward
from tests.unit.supervisor.test_launcher_ward import ScriptedProcess

STOP_S = 2.0


class Bench:
    """A crew of scripted processes."""

    def __init__(self, children: Sequence[Child], *, one_shot: bool = False) -> None:
        self.now_s = 0.0
        self.processes: dict[str, ScriptedProcess] = {}
        patience = Patience(restart=RestartLimits(budget=0), stop_s=STOP_S)
        wards = [Ward(child, patience, "ab12", spawn=self._spawn, chance=lambda: 0.0, on_change=lambda _: None) for child in children]
        self.crew = Crew(wards, STOP_S, one_shot=one_shot)
        self.crew.advance(self.now_s)

    def _spawn(self, child: Child, _incarnation: str) -> ScriptedProcess:
        self.processes[child.name] = ScriptedProcess(len(self.processes) + 1)
        return self.processes[child.name]

    def get_ready(self, *names: str) -> None:
        for name in names:
            self.crew.wards[name].notice({"READY": "1"}, self.now_s)
        self.crew.advance(self.now_s)

    def end(self, name: str, returncode: int = 0) -> None:
        self.crew.wards[name].buried(returncode, self.now_s)
        self.crew.advance(self.now_s)

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.crew.run_due(self.now_s)
        self.crew.advance(self.now_s)

    def stopping(self) -> set[str]:
        return {name for name, process in self.processes.items() if signal.SIGTERM in process.signals}


def child(name: str, wave: int = 0, policy: str = "permanent", *, base: bool = False) -> Child:
    return Child(name=name, argv=(name,), wave=wave, policy=policy, base=base)  # type: ignore[arg-type]


TRIO = (child("broker", base=True), child("vad"), child("mic", wave=1))


def test_a_wave_starts_when_all_of_the_one_before_are_ready() -> None:
    bench = Bench(TRIO)
    bench.get_ready("vad")
    assert set(bench.processes) == {"broker", "vad"}
    bench.get_ready("broker")
    assert set(bench.processes) == {"broker", "vad", "mic"}
    assert not bench.crew.ready
    bench.get_ready("mic")
    assert bench.crew.ready


def test_a_source_that_was_done_before_it_was_ready_holds_nobody_up() -> None:
    bench = Bench((child("vad"), child("mic", 1, "until-done")))
    bench.get_ready("vad")
    bench.end("mic", 0)
    assert bench.crew.ready


def test_they_are_stopped_in_reverse_and_the_base_after_all_others() -> None:
    bench = Bench(TRIO)
    bench.get_ready("broker", "vad")
    bench.get_ready("mic")
    bench.crew.stop(bench.now_s)
    assert bench.stopping() == {"mic"}
    bench.end("mic")
    assert bench.stopping() == {"mic", "vad"}
    bench.end("vad")
    assert bench.stopping() == {"mic", "vad", "broker"}
    assert not bench.crew.ended
    bench.end("broker")
    assert bench.crew.ended


def test_a_wave_that_never_started_does_not_delay_the_stop() -> None:
    bench = Bench(TRIO)
    bench.crew.stop(bench.now_s)
    assert bench.stopping() == {"vad"}


def test_children_that_do_not_stop_are_killed_and_the_time_is_shared_among_the_groups() -> None:
    bench = Bench(TRIO)
    bench.get_ready("broker", "vad")
    bench.get_ready("mic")
    bench.crew.stop(bench.now_s)
    for name in ("mic", "vad", "broker"):
        while not bench.processes[name].killed:
            bench.wait(0.01)
            assert bench.now_s < 10.0
        bench.end(name, -signal.SIGKILL)
    assert bench.crew.ended
    assert bench.now_s <= STOP_S + 3 * Patience().stop_stacks_s + 0.1


def test_a_process_that_even_the_kernel_cannot_end_does_not_hold_the_launcher_for_ever() -> None:
    bench = Bench((child("vad"),))
    bench.crew.stop(bench.now_s)
    while not bench.crew.ended:
        bench.wait(0.1)
    assert bench.now_s < STOP_S + GIVE_UP_S + 1.0


def test_a_failure_before_all_were_ready_stops_everything_and_gives_its_reason() -> None:
    bench = Bench(TRIO)
    bench.crew.wards["vad"].notice({"X_EARSHOT_REASON": "no such engine"}, bench.now_s)
    bench.end("vad", 78)
    assert bench.crew.stopping
    assert bench.crew.failure == "no such engine"
    assert bench.stopping() == {"broker"}


def test_a_failure_later_is_lived_with() -> None:
    bench = Bench(TRIO)
    bench.get_ready("broker", "vad")
    bench.get_ready("mic")
    bench.end("vad", 78)
    assert not bench.crew.stopping
    assert bench.crew.wards["vad"].state is State.FAILED
    assert bench.crew.summary() == "2 ready, 1 failed"


def test_a_failure_later_ends_a_run_that_is_for_a_result() -> None:
    bench = Bench(TRIO, one_shot=True)
    bench.get_ready("broker", "vad")
    bench.get_ready("mic")
    bench.end("vad", 78)
    assert bench.crew.stopping
    assert bench.crew.failure


def test_nobody_is_nothing_to_wait_for() -> None:
    bench = Bench(())
    assert bench.crew.ready
    bench.crew.stop(bench.now_s)
    assert bench.crew.ended
