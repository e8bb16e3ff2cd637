"""The table of a child's life: every path ends in a named state."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.states import TABLE, Action, Event, RestartPolicy, State, exit_event, step

SHOWN = {"starting", "ready", "backing-off", "stopping", "stopped", "failed"}
GONE = (Event.DONE, Event.MISCONFIGURED, Event.CRASHED)
SPAWNS = (Action.SPAWN, Action.SPAWN_AFRESH)
EVERY_STEP = list(product(State, Event))
AT_REST = (State.STOPPED, State.FAILED)


def run(state: State, *events: Event) -> list[tuple[State, Action]]:
    steps = []
    for event in events:
        state, action = step(state, event)
        steps.append((state, action))
    return steps


@pytest.mark.parametrize(("state", "event"), EVERY_STEP)
def test_every_state_and_event_gives_a_state_that_status_can_show(state: State, event: Event) -> None:
    after, action = step(state, event)
    assert after.shown in SHOWN
    assert isinstance(action, Action)


def test_every_state_has_a_row_and_can_be_reached_from_stopped() -> None:
    reached, frontier = {State.STOPPED}, [State.STOPPED]
    while frontier:
        here = frontier.pop()
        new = {step(here, event)[0] for event in Event} - reached
        reached |= new
        frontier += new
    assert reached == set(State) == set(TABLE)


@pytest.mark.parametrize(("state", "event"), EVERY_STEP)
def test_a_process_is_spawned_just_when_there_is_none(state: State, event: Event) -> None:
    after, action = step(state, event)
    if action in SPAWNS:
        assert after is State.STARTING
        assert not state.has_process or event in GONE
    elif after.has_process:
        assert state.has_process
        assert event not in GONE


@pytest.mark.parametrize("state", State)
def test_a_stop_leads_to_rest_as_soon_as_the_process_is_gone(state: State) -> None:
    state, _ = step(state, Event.STOP)
    if state.has_process:
        state, _ = step(state, Event.CRASHED)
    assert state in AT_REST


@pytest.mark.parametrize("state", [state for state in State if state.has_process and state is not State.KILLING])
def test_a_stop_of_a_living_process_sends_sigterm_unless_it_was_sent(state: State) -> None:
    action = step(state, Event.STOP)[1]
    assert action is (Action.NOTHING if state in (State.STOPPING, State.RESTARTING) else Action.TERMINATE)


@pytest.mark.parametrize("state", [State.STOPPING, State.RESTARTING])
def test_a_process_that_ignores_sigterm_is_killed(state: State) -> None:
    assert step(state, Event.STOP_OVERDUE) == (state, Action.KILL)


def test_a_crash_backs_off_and_then_starts_again() -> None:
    assert run(State.READY, Event.CRASHED, Event.BACKOFF_OVER) == [
        (State.BACKING_OFF, Action.SCHEDULE),
        (State.STARTING, Action.SPAWN),
    ]


@pytest.mark.parametrize("state", [State.STARTING, State.READY])
def test_a_hang_is_killed_first_and_restarted_only_when_the_process_is_gone(state: State) -> None:
    assert run(state, Event.HUNG, Event.READY, Event.CRASHED) == [
        (State.KILLING, Action.KILL),
        (State.KILLING, Action.NOTHING),
        (State.BACKING_OFF, Action.SCHEDULE),
    ]


def test_a_spent_budget_ends_in_failed_and_stays_there_through_a_stop() -> None:
    assert [state for state, _ in run(State.READY, Event.CRASHED, Event.BUDGET_SPENT, Event.STOP)][1:] == [State.FAILED] * 2


def test_a_configuration_error_is_not_tried_again() -> None:
    assert step(State.STARTING, Event.MISCONFIGURED) == (State.FAILED, Action.NOTHING)


def test_a_failed_child_starts_afresh_when_a_person_asks() -> None:
    assert step(State.FAILED, Event.RESTART) == (State.STARTING, Action.SPAWN_AFRESH)


def test_a_restart_stops_first_and_starts_when_the_process_is_gone() -> None:
    assert run(State.READY, Event.RESTART, Event.CRASHED) == [
        (State.RESTARTING, Action.TERMINATE),
        (State.STARTING, Action.SPAWN_AFRESH),
    ]


def test_a_stop_during_the_back_off_drops_the_restart() -> None:
    assert run(State.BACKING_OFF, Event.STOP, Event.BACKOFF_OVER) == [
        (State.STOPPED, Action.CANCEL),
        (State.STOPPED, Action.NOTHING),
    ]


@given(st.lists(st.sampled_from(Event), max_size=40))
def test_after_any_history_a_stop_and_an_exit_bring_rest_with_no_timer_left(events: list[Event]) -> None:
    state, timer = State.STOPPED, False
    for event in [*events, Event.STOP, Event.CRASHED]:
        if event in GONE and not state.has_process:
            continue  # the launcher tells of an end only for a process that is there
        if event is Event.BACKOFF_OVER and not timer:
            continue
        state, action = step(state, event)
        if action is Action.SCHEDULE:
            timer = True
        elif action in (*SPAWNS, Action.CANCEL) or event is Event.BUDGET_SPENT:
            timer = False
    assert state in AT_REST
    assert not timer


@pytest.mark.parametrize(
    ("returncode", "policy", "event"),
    [
        (0, "permanent", Event.CRASHED),
        (0, "until-done", Event.DONE),
        (1, "until-done", Event.CRASHED),
        (-9, "permanent", Event.CRASHED),
        (78, "permanent", Event.MISCONFIGURED),
        (78, "until-done", Event.MISCONFIGURED),
    ],
)
def test_what_an_exit_status_means(returncode: int, policy: RestartPolicy, event: Event) -> None:
    assert exit_event(returncode, policy) is event
