"""One child in the launcher's hands: scripted processes, and a clock that the tests turn."""

import math
import signal
from dataclasses import dataclass, field

import pytest

from supervisor.children import Child
from supervisor.restart import RestartLimits
from supervisor.states import Event, State
from supervisor.ward import TELL_AFTER_S, Patience, Ward

PATIENCE = Patience(restart=RestartLimits(initial_s=1.0, max_s=10.0, budget=2, window_s=100.0), ready_s=60.0, stop_s=2.0)
BEAT_S = 0.5


@dataclass
class ScriptedProcess:
    pid: int
    signals: list[signal.Signals] = field(default_factory=list)
    killed: bool = False

    def signal(self, number: signal.Signals) -> None:
        self.signals.append(number)

    def kill_group(self) -> None:
        self.killed = True


class Bench:
    """A ward, its processes, what it told, and the time."""

    def __init__(self, *, policy: str = "permanent", spawnable: bool = True, watchdog_s: float | None = BEAT_S) -> None:
        self.now_s = 1000.0
        self.processes: list[ScriptedProcess] = []
        self.told: list[str] = []
        self.spawnable = spawnable
        child = Child(name="deaf", argv=("deaf",), policy=policy, watchdog_s=watchdog_s)  # type: ignore[arg-type]
        self.ward = Ward(
            child, PATIENCE, "ab12", spawn=self._spawn, chance=lambda: 0.0, on_change=lambda ward: self.told.append(ward.state.shown)
        )
        self.ward.handle(Event.START, self.now_s)

    def _spawn(self, _child: Child, _incarnation: str) -> ScriptedProcess:
        if not self.spawnable:
            raise FileNotFoundError(2, "No such file or directory")
        self.processes.append(ScriptedProcess(len(self.processes) + 1))
        return self.processes[-1]

    @property
    def process(self) -> ScriptedProcess:
        return self.processes[-1]

    def say(self, **values: str) -> None:
        self.ward.notice(values, self.now_s)

    def get_ready(self) -> None:
        self.say(READY="1", WATCHDOG="1")

    def end(self, returncode: int) -> None:
        self.ward.buried(returncode, self.now_s)

    def wait(self, seconds: float) -> None:
        """Let time pass, and everything happen that is due meanwhile, at its time."""
        end_s = self.now_s + seconds
        while self.ward.deadline_s() <= end_s:
            self.now_s = max(self.now_s, self.ward.deadline_s())
            self.ward.run_due(self.now_s)
        self.now_s = end_s


def test_a_child_is_ready_when_it_says_so_and_not_before() -> None:
    bench = Bench()
    states = [bench.ward.state]
    bench.get_ready()
    states.append(bench.ward.state)
    assert states == [State.STARTING, State.READY]
    assert bench.told == ["starting", "ready"]


def test_a_crash_leads_to_a_new_incarnation_after_the_back_off() -> None:
    bench = Bench()
    bench.get_ready()
    bench.end(-signal.SIGSEGV)
    assert (bench.ward.state, bench.ward.last_exit) == (State.BACKING_OFF, "signal SIGSEGV")
    bench.wait(0.9)
    assert len(bench.processes) == 1
    bench.wait(0.1)
    assert (len(bench.processes), bench.ward.incarnation) == (2, "ab12.2")


def test_the_reason_of_a_failure_is_what_the_child_said_last() -> None:
    bench = Bench()
    bench.say(X_EARSHOT_REASON="there is no model")
    bench.end(78)
    assert (bench.ward.state, bench.ward.reason) == (State.FAILED, "there is no model")


def test_the_last_words_of_one_life_are_not_those_of_the_next() -> None:
    bench = Bench()
    bench.say(X_EARSHOT_REASON="the disk is full")
    bench.end(1)
    bench.wait(1.0)
    bench.end(1)
    assert "disk" not in bench.ward.reason
    assert "exit 1" in bench.ward.reason


def test_what_each_life_lost_adds_up_and_survives_a_kill() -> None:
    bench = Bench()
    bench.say(X_EARSHOT_LOSSES="events-missed=2")
    bench.say(X_EARSHOT_LOSSES="events-missed=5,frames-stale=1")
    bench.end(-signal.SIGKILL)
    bench.wait(1.0)
    bench.say(X_EARSHOT_LOSSES="events-missed=1")
    assert bench.ward.losses == {"events-missed": 6, "frames-stale": 1}


def test_a_child_that_tells_nonsense_of_its_losses_does_no_harm() -> None:
    bench = Bench()
    bench.say(X_EARSHOT_LOSSES="=3,events-missed,frames-stale=-1,results-late=²,jobs-parked=4")
    assert bench.ward.losses == {"jobs-parked": 4}


def test_a_spent_budget_ends_in_failed_and_says_so() -> None:
    bench = Bench()
    for _ in range(3):
        bench.end(3)
        bench.wait(10.0)
    assert bench.ward.state is State.FAILED
    assert bench.ward.reason.startswith("given up after 2 restarts within 100 s: deaf ended with exit 3")
    assert bench.ward.deadline_s() == math.inf


def test_a_restart_that_a_person_asks_for_revives_a_failed_child_with_a_new_budget() -> None:
    bench = Bench()
    for _ in range(3):
        bench.end(3)
        bench.wait(10.0)
    bench.ward.handle(Event.RESTART, bench.now_s)
    bench.end(3)
    assert bench.ward.state is State.BACKING_OFF


def test_a_program_that_cannot_be_started_is_a_failure_like_others() -> None:
    bench = Bench(spawnable=False)
    bench.wait(100.0)
    assert bench.ward.state is State.FAILED
    assert "cannot start deaf: No such file or directory" in bench.ward.reason


def test_silence_gets_the_stacks_written_then_the_kill_then_a_restart() -> None:
    bench = Bench()
    bench.get_ready()
    bench.say(X_EARSHOT_PHASE="handling")
    bench.wait(BEAT_S)
    assert bench.process.signals == [signal.SIGABRT, signal.SIGCONT]
    assert not bench.process.killed
    bench.wait(PATIENCE.stacks_s)
    assert bench.process.killed
    bench.end(-signal.SIGKILL)
    assert bench.ward.state is State.BACKING_OFF
    assert bench.ward.reason == "deaf hung in phase handling (no beat); see its stacks with `supervisor logs deaf`"


def test_a_child_that_says_that_it_hangs_is_not_waited_for() -> None:
    bench = Bench()
    bench.get_ready()
    bench.say(WATCHDOG="trigger", X_EARSHOT_PHASE="transcribing")
    bench.say(WATCHDOG="trigger", X_EARSHOT_PHASE="transcribing")
    assert bench.process.signals == [signal.SIGABRT, signal.SIGCONT]
    bench.end(-signal.SIGABRT)
    assert bench.ward.state is State.BACKING_OFF
    assert bench.ward.reason.startswith("deaf hung in phase transcribing (over its deadline); see its stacks")


def test_a_child_that_hangs_while_it_stops_gets_the_time_that_it_has_to_stop() -> None:
    bench = Bench()
    bench.get_ready()
    bench.ward.handle(Event.STOP, bench.now_s, stop_s=0.6)
    bench.say(WATCHDOG="trigger", X_EARSHOT_PHASE="stopping")
    assert signal.SIGABRT not in bench.process.signals
    assert bench.ward.reason == ""


def test_a_child_that_beats_is_left_alone() -> None:
    bench = Bench()
    bench.get_ready()
    for _ in range(100):
        bench.wait(BEAT_S * 0.9)
        bench.say(WATCHDOG="1")
    assert bench.process.signals == []


def test_talking_is_not_beating() -> None:
    bench = Bench()
    bench.get_ready()
    bench.wait(BEAT_S * 0.9)
    bench.say(STATUS="still here")
    bench.wait(BEAT_S * 0.2)
    assert signal.SIGABRT in bench.process.signals


def test_a_child_without_a_watchdog_may_be_silent() -> None:
    bench = Bench(watchdog_s=None)
    bench.get_ready()
    bench.wait(10_000.0)
    assert bench.process.signals == []


def test_the_first_beat_may_take_as_long_as_an_interpreter_needs() -> None:
    bench = Bench()
    bench.wait(PATIENCE.first_beat_s - 0.1)
    assert bench.process.signals == []
    bench.wait(0.1)
    assert signal.SIGABRT in bench.process.signals


def test_a_child_that_beats_but_does_not_get_ready_is_hung_too() -> None:
    bench = Bench()
    while bench.now_s < 1000.0 + PATIENCE.ready_s:
        bench.say(WATCHDOG="1", X_EARSHOT_PHASE="loading")
        bench.wait(0.25)
    assert signal.SIGABRT in bench.process.signals
    assert "not ready within 60 s in phase loading" in bench.ward.reason


def test_time_in_which_the_launcher_was_stopped_is_not_held_against_a_child() -> None:
    bench = Bench()
    bench.get_ready()
    bench.now_s += 10.0
    bench.ward.forgive(10.0)
    bench.ward.run_due(bench.now_s)
    assert bench.process.signals == []


def test_a_child_that_was_stopped_together_with_the_launcher_has_time_to_beat_again() -> None:
    bench = Bench()
    bench.get_ready()
    left_s = bench.ward.deadline_s() - bench.now_s
    bench.now_s += left_s + 10.0  # the launcher wanted to look when the beat was due, and woke ten seconds later
    bench.ward.forgive(10.0)
    bench.ward.run_due(bench.now_s)
    assert bench.process.signals == []
    bench.wait(bench.ward.child.watchdog_s or 0)
    assert signal.SIGABRT in bench.process.signals


def test_a_stop_is_asked_for_then_the_stacks_are_written_then_it_is_killed() -> None:
    bench = Bench()
    bench.get_ready()
    bench.ward.handle(Event.STOP, bench.now_s, stop_s=0.6)
    assert signal.SIGTERM in bench.process.signals
    bench.wait(0.6)
    assert signal.SIGABRT in bench.process.signals
    bench.wait(PATIENCE.stop_stacks_s)
    assert bench.process.killed
    bench.end(-signal.SIGKILL)
    assert bench.ward.state is State.STOPPED
    assert bench.ward.deadline_s() == math.inf


def test_an_end_that_was_asked_for_is_no_failure_whatever_its_status() -> None:
    bench = Bench()
    bench.get_ready()
    bench.ward.handle(Event.STOP, bench.now_s)
    bench.end(1)
    assert (bench.ward.state, bench.ward.reason) == (State.STOPPED, "")


def test_a_source_that_has_ended_is_done_and_one_that_crashed_is_not() -> None:
    done, crashed = Bench(policy="until-done"), Bench(policy="until-done")
    done.end(0)
    crashed.end(1)
    assert (done.ward.state, done.ward.done) == (State.STOPPED, True)
    assert (crashed.ward.state, crashed.ward.done) == (State.BACKING_OFF, False)


def test_what_a_starting_child_waits_for_is_told_when_it_takes_long() -> None:
    quick, slow = Bench(), Bench()
    for bench in (quick, slow):
        bench.say(STATUS="loading medium.en", WATCHDOG="1")
        bench.wait(0.1)
    quick.get_ready()
    for bench in (quick, slow):
        for _ in range(20):
            bench.say(WATCHDOG="1")
            bench.wait(TELL_AFTER_S / 10)
    assert quick.told == ["starting", "ready"]
    assert slow.told == ["starting", "starting"]


@pytest.mark.parametrize("state", [State.BACKING_OFF, State.FAILED])
def test_a_child_without_a_process_can_be_killed_without_harm(state: State) -> None:
    bench = Bench()
    bench.end(78 if state is State.FAILED else 1)
    assert bench.ward.state is state
    bench.ward.kill()
