"""The board decides who does which job next, and a turn is never done twice or out of order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bus.leases import MAX_HOLDERS, Board, Entry, Hold, Worker
from bus.messages.jobs import Answer, Heard, Job, Parked, Transcribe
from bus.moments import Moment

SECOND = 1_000_000_000
NOW = Moment("boot", 0, 0)


def heard(turn: str, stream: str = "mic") -> Job:
    return Job(turn=turn, stream=stream, work=Heard(transcript="hello"))


def speech(turn: str, stream: str = "mic") -> Job:
    return Job(turn=turn, stream=stream, work=Transcribe(first_sample=0, audio_ms=1000, speech_ms=800))


def board_with(*jobs: Job, workers: dict[str, str]) -> Board:
    board = Board(max_attempts=3)
    for number, job in enumerate(jobs, 1):
        board.add(entry(board, job, number))
    for key, queue in workers.items():
        board.hello(key, queue)
    return board


def entry(board: Board, job: Job, number: int) -> Entry:
    kin = board.first_of_turn(job.turn)
    return Entry(job, number, kin.turn_order if kin else number, NOW)


def give_out(board: Board, now_ns: int = 0) -> list[tuple[str, str]]:
    given = []
    for worker, entry in board.assignments(now_ns):
        late_ns = now_ns + SECOND // 2 if entry.job.work.can_be_hedged else None
        board.lease(worker, entry, now_ns + SECOND, late_ns, now_ns=now_ns)
        given.append((worker.key, entry.job.id))
    return given


def test_the_oldest_job_goes_to_the_first_idle_worker_of_its_queue() -> None:
    board = board_with(speech("a"), speech("b"), speech("c"), workers={"whisper-1/x": "stt", "whisper-2/x": "stt", "llm/x": "llm"})
    assert give_out(board) == [("whisper-1/x", "a/transcribe/0"), ("whisper-2/x", "b/transcribe/0")]


def test_a_turn_waits_until_the_earlier_turn_of_its_stream_has_no_open_job() -> None:
    board = board_with(speech("a"), heard("b"), workers={"dialogue/x": "turn"})
    assert give_out(board) == []
    board.remove("a/transcribe/0")
    assert give_out(board) == [("dialogue/x", "b/heard/0")]


def test_a_turn_of_another_stream_does_not_wait() -> None:
    board = board_with(speech("a"), heard("b", "hear"), workers={"dialogue/x": "turn"})
    assert give_out(board) == [("dialogue/x", "b/heard/0")]


def test_the_job_of_a_dead_worker_goes_to_the_next() -> None:
    board = board_with(speech("a"), workers={"whisper-1/x": "stt"})
    give_out(board)
    entry = board.gone("whisper-1/x", 0, "its worker died")
    assert entry is not None
    board.release(entry, "whisper-1/x")
    board.hello("whisper-1/y", "stt")
    assert give_out(board) == [("whisper-1/y", "a/transcribe/0")]
    assert board.entries["a/transcribe/0"].attempts == 2


def test_the_job_of_a_worker_that_let_its_lease_run_out_goes_to_an_idle_one_at_once() -> None:
    board = board_with(speech("a"), workers={"whisper-1/x": "stt", "whisper-2/x": "stt"})
    give_out(board)
    assert board.expired(SECOND - 1) == []
    ((late, key),) = board.expired(SECOND)
    board.release(late, key, owes=True)
    assert give_out(board, SECOND) == [("whisper-2/x", "a/transcribe/0")]


def test_a_worker_that_let_its_lease_run_out_gets_nothing_until_it_is_heard_of_again() -> None:
    board = board_with(speech("a"), workers={"whisper-1/x": "stt"})
    give_out(board)
    ((late, key),) = board.expired(2 * SECOND)
    board.release(late, key, owes=True)
    assert give_out(board, 2 * SECOND) == []
    assert not board.credit("whisper-1/x", "another/lease#1")
    assert give_out(board, 2 * SECOND) == []
    assert board.credit("whisper-1/x", "a/transcribe/0#1")
    assert give_out(board, 2 * SECOND) == [("whisper-1/x", "a/transcribe/0")]


def test_a_new_dispatcher_is_reminded_of_what_a_worker_holds() -> None:
    board = board_with(speech("a"), workers={})
    board.entries["a/transcribe/0"].attempts = 1
    board.hello("whisper-1/x", "stt", "a/transcribe/0#1")
    assert board.resume("whisper-1/x", board.entries["a/transcribe/0"], Hold(1, SECOND))
    board.hello("whisper-2/x", "stt")
    assert give_out(board) == []
    assert board.entries["a/transcribe/0"].holders == {"whisper-1/x": 1}


def test_both_holders_of_a_job_go_on_under_a_new_dispatcher_and_a_third_does_not() -> None:
    board = board_with(speech("a"), workers={})
    job = board.entries["a/transcribe/0"]
    job.attempts = 3
    for number, may in ((2, True), (1, True), (3, False)):
        board.hello(f"whisper-{number}/x", "stt", f"a/transcribe/0#{number}")
        assert board.resume(f"whisper-{number}/x", job, Hold(number, SECOND)) is may
    assert job.holders == {"whisper-2/x": 2, "whisper-1/x": 1}
    assert not board.workers["whisper-3/x"].idle  # it has its hands full all the same


def test_a_worker_that_holds_what_is_no_longer_open_gets_nothing_until_it_ends_it() -> None:
    board = board_with(speech("b"), workers={})
    board.hello("whisper-1/x", "stt", "a/transcribe/0#1")
    assert give_out(board) == []
    board.credit("whisper-1/x", "a/transcribe/0#1")
    assert give_out(board) == [("whisper-1/x", "b/transcribe/0")]


def test_a_late_job_goes_to_a_second_worker_that_is_idle_and_to_no_third() -> None:
    board = board_with(speech("a"), workers={"whisper-1/x": "stt", "whisper-2/x": "stt", "whisper-3/x": "stt"})
    give_out(board)
    assert give_out(board, SECOND // 2 - 1) == []
    assert board.next_change_ns(0) == SECOND // 2
    assert give_out(board, SECOND // 2) == [("whisper-2/x", "a/transcribe/0")]
    assert give_out(board, SECOND - 1) == []
    assert board.entries["a/transcribe/0"].holders == {"whisper-1/x": 1, "whisper-2/x": 2}


def test_no_worker_helps_with_a_late_job_while_another_job_waits_or_will() -> None:
    board = board_with(speech("a"), workers={"whisper-1/x": "stt"})
    give_out(board)
    board.add(entry(board, speech("b"), 2))
    board.hello("whisper-2/x", "stt")
    assert give_out(board, SECOND // 2) == [("whisper-2/x", "b/transcribe/0")]
    board.release(board.entries["b/transcribe/0"], "whisper-2/x")
    board.entries["b/transcribe/0"].not_before_ns = SECOND
    assert give_out(board, SECOND // 2) == []


def test_an_answer_is_never_given_to_two() -> None:
    work = Answer(transcript="", role="", system="", max_tokens=1, rounds=[])
    board = board_with(Job(turn="a", stream="mic", work=work), workers={"llm-1/x": "llm", "llm-2/x": "llm"})
    give_out(board)
    assert give_out(board, SECOND - 1) == []


def test_a_job_without_another_attempt_is_not_given_to_a_second_worker() -> None:
    board = board_with(speech("a"), workers={"whisper-1/x": "stt", "whisper-2/x": "stt"})
    board.entries["a/transcribe/0"].attempts = 2
    give_out(board)
    assert give_out(board, SECOND // 2) == []


def test_when_one_of_two_ends_without_a_result_the_other_goes_on() -> None:
    board = board_with(speech("a"), workers={"whisper-1/x": "stt", "whisper-2/x": "stt"})
    give_out(board)
    give_out(board, SECOND // 2)
    board.release(board.entries["a/transcribe/0"], "whisper-1/x")
    assert not board.entries["a/transcribe/0"].waiting
    assert board.workers["whisper-1/x"].idle
    assert give_out(board, SECOND // 2) == []


def test_the_loser_of_two_gets_its_next_job_only_after_it_has_told_how_it_ended() -> None:
    board = board_with(speech("a"), workers={"whisper-1/x": "stt", "whisper-2/x": "stt"})
    give_out(board)
    give_out(board, SECOND // 2)
    board.remove("a/transcribe/0")
    board.credit("whisper-2/x", "a/transcribe/0#2")
    board.add(entry(board, speech("b"), 2))
    board.add(entry(board, speech("c"), 3))
    assert give_out(board) == [("whisper-2/x", "b/transcribe/0")]
    board.credit("whisper-1/x", "a/transcribe/0#1")
    assert give_out(board) == [("whisper-1/x", "c/transcribe/0")]


def test_a_job_that_has_failed_twice_lets_the_others_pass() -> None:
    board = board_with(speech("poison"), speech("b"), speech("c"), workers={})
    for life in range(2):
        board.hello(f"whisper-1/{life}", "stt")
        assert give_out(board) == [(f"whisper-1/{life}", "poison/transcribe/0")]
        board.release(board.entries["poison/transcribe/0"], f"whisper-1/{life}")
        board.gone(f"whisper-1/{life}", 0, "its worker died")
    for number in range(3):
        board.hello(f"whisper-{number}/3", "stt")
    assert [job_id for _, job_id in give_out(board)] == ["b/transcribe/0", "c/transcribe/0", "poison/transcribe/0"]


def test_a_job_that_is_about_to_come_to_be_is_promised_to_an_idle_worker_where_that_is_plain() -> None:
    board = board_with(speech("a"), speech("b"), workers={"dialogue/x": "turn", "llm/x": "llm"})
    order = {turn: board.entries[f"{turn}/transcribe/0"].turn_order for turn in "ab"}
    taker = board.taker(heard("a"), order["a"], "a/transcribe/0", ())
    assert taker is not None
    assert taker.key == "dialogue/x"
    assert board.taker(heard("a"), order["a"], "a/transcribe/0", ["dialogue/x"]) is None
    assert board.taker(heard("b"), order["b"], "b/transcribe/0", ()) is None  # an earlier turn of its stream is open
    assert board.taker(speech("c"), 3, "", ()) is None  # others wait for the same workers


def test_a_job_is_exhausted_after_its_attempts_but_the_last_word_never_is() -> None:
    board = Board(max_attempts=2)
    assert not board.exhausted(Entry(speech("a"), 1, 1, NOW, attempts=1))
    assert board.exhausted(Entry(speech("a"), 1, 1, NOW, attempts=2))
    assert not board.exhausted(Entry(Job(turn="a", stream="m", work=Parked(failed_stage="answer", reason="r")), 1, 1, NOW, attempts=9))


def test_the_next_change_is_the_nearest_deadline_or_lateness_or_end_of_a_delay() -> None:
    board = board_with(speech("a"), speech("b"), workers={"whisper-1/x": "stt"})
    assert board.next_change_ns(0) is None
    give_out(board)
    board.entries["b/transcribe/0"].not_before_ns = SECOND // 4
    assert board.next_change_ns(0) == SECOND // 4
    assert board.next_change_ns(SECOND // 4) == SECOND // 2
    assert board.next_change_ns(SECOND // 2) == SECOND


def test_a_job_whose_last_attempt_ended_while_there_was_no_dispatcher_has_had_all_of_them() -> None:
    board = board_with(speech("a"), workers={})
    job = board.entries["a/transcribe/0"]
    job.attempts, job.awaited, job.not_before_ns = 3, {"whisper-1/x": 3}, SECOND
    board.hello("whisper-2/x", "stt")
    assert board.spent(SECOND - 1) == []
    assert board.spent(SECOND) == [job]
    assert give_out(board, SECOND) == []


WORKERS = ("w1/1", "w2/1", "w3/1", "d1/1")
STEPS_S = (0.1, 0.6, 1.1)
"""A lease is late after 0.5 s and over after 1 s."""


class BoardMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order: each job ends once, nobody has more than one, no job more than two, none is forgotten.

    Beside the board stand the workers' own hands, which know nothing of it: a worker goes on with what it was given until it ends it or
    dies, whoever else has the job meanwhile.
    """

    def __init__(self) -> None:
        super().__init__()
        self.board = Board(max_attempts=4)
        self.now_ns = 0
        self.order = 0
        self.submitted: set[str] = set()
        self.done: list[str] = []
        self.parked: list[str] = []
        self.hands: dict[str, tuple[str, str]] = {}
        """By worker: the job and the lease in its hands."""

    @initialize()
    def begin(self) -> None:
        for key in WORKERS:
            self.hello(key)
        self.submit("mic", is_heard=False)

    @rule(stream=st.sampled_from(["mic", "hear"]), is_heard=st.booleans())
    def submit(self, stream: str, is_heard: bool) -> None:
        self.order += 1
        turn = f"{stream}{self.order}"
        job = heard(turn, stream) if is_heard else speech(turn, stream)
        self.submitted.add(job.id)
        order = self.order
        worker = self.board.taker(job, order, "", ())
        self.board.add(Entry(job, order, order, NOW))
        if worker is not None:
            self._lease(worker, self.board.entries[job.id])
        self._give_out()

    @rule(key=st.sampled_from(WORKERS))
    def hello(self, key: str) -> None:
        """At its start, or after its connection was lost."""
        for other in self.board.predecessors(key):
            self._die(other)
        job_id, lease = self.hands.get(key, ("", ""))
        self.board.hello(key, "turn" if key[0] == "d" else "stt", lease)
        found = self.board.entries.get(job_id)
        if found is not None:
            hold = Hold(int(lease.rpartition("#")[2]), self.now_ns + SECOND, self.now_ns + SECOND // 2)
            self.board.resume(key, found, hold)
        for waiting in self.board.awaiting(key):
            self.board.give_up_waiting(waiting, key, self.now_ns + SECOND, self.now_ns, "it came back without it")
        self._give_out()

    @rule(key=st.sampled_from(WORKERS))
    def die(self, key: str) -> None:
        self._die(key)
        self._give_out()

    @precondition(lambda self: self.hands)
    @rule(data=st.data())
    def be_replaced(self, data: st.DataObject) -> None:
        """A busy worker dies unseen, and its successor says hello."""
        key = data.draw(st.sampled_from(sorted(self.hands)))
        name, _, life = key.partition("/")
        del self.hands[key]
        self.hello(f"{name}/{int(life) + 1}")

    def _die(self, key: str) -> None:
        self.hands.pop(key, None)
        found = self.board.gone(key, self.now_ns, "its worker died")
        if found is not None:
            self._end_hold(found, key, owes=False)

    def _give_out(self) -> None:
        for found in self.board.spent(self.now_ns):
            self._park(found)
        first = {stream: self._first_turn(stream) for stream in ("mic", "hear")}
        for worker, found in self.board.assignments(self.now_ns):
            assert not found.job.work.in_order or first[found.job.stream] == found.turn_order
            if not found.waiting:
                assert not any(other.waiting and other.job.queue == worker.queue for other in self.board.entries.values())
            self._lease(worker, found)

    @precondition(lambda self: self.hands)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self._finish(data.draw(st.sampled_from(sorted(self.hands))))
        self._give_out()

    def _finish(self, key: str) -> None:
        job_id, lease = self.hands.pop(key)
        found = self.board.remove(job_id)
        if found is not None:
            self.done.append(job_id)
            if isinstance(found.job.work, Transcribe):
                self.order += 1
                follow_up = heard(found.job.turn, found.job.stream)
                self.submitted.add(follow_up.id)
                self.board.add(Entry(follow_up, self.order, found.turn_order, NOW))
        self.board.credit(key, lease)

    @precondition(lambda self: self.hands)
    @rule(data=st.data(), retry=st.booleans())
    def fail(self, data: st.DataObject, retry: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.hands)))
        job_id, lease = self.hands.pop(key)
        found = self.board.entries.get(job_id)
        if found is not None and found.held_as(key, lease):
            self._end_hold(found, key, owes=False, park=not retry)
        self.board.credit(key, lease)
        self._give_out()

    @rule(seconds=st.sampled_from(STEPS_S))
    def pass_time(self, seconds: float) -> None:
        self.now_ns += round(seconds * SECOND)
        for found, key in self.board.expired(self.now_ns):
            self._end_hold(found, key, owes=True)
        self._give_out()

    @rule()
    def restart_the_dispatcher(self) -> None:
        """What is in the spool is all that is left; the workers go on."""
        old, self.board = self.board, Board(max_attempts=4)
        for found in old.entries.values():
            again = Entry(found.job, found.order, found.turn_order, NOW, found.attempts, awaited=dict(found.holders))
            again.not_before_ns = self.now_ns + SECOND if again.awaited else 0
            self.board.add(again)

    def _lease(self, worker: Worker, found: Entry) -> None:
        assert worker.queue == found.job.queue
        assert worker.key not in self.hands, "it still has its hands full"
        late_ns = self.now_ns + SECOND // 2 if found.job.work.can_be_hedged else None
        hold = self.board.lease(worker, found, self.now_ns + SECOND, late_ns, now_ns=self.now_ns)
        self.hands[worker.key] = (found.job.id, found.lease(hold.attempt))

    def _end_hold(self, found: Entry, key: str, *, owes: bool, park: bool = False) -> None:
        """As the dispatcher does it."""
        if len(found.holds) == 1 and (park or self.board.exhausted(found)):
            self._park(found)
        else:
            self.board.release(found, key, owes=owes)

    def _park(self, found: Entry) -> None:
        self.board.remove(found.job.id)
        self.parked.append(found.job.id)

    def _first_turn(self, stream: str) -> int:
        return min((found.turn_order for found in self.board.entries.values() if found.job.stream == stream), default=0)

    @invariant()
    def each_job_ends_once_or_is_open(self) -> None:
        ended = [*self.done, *self.parked]
        assert len(ended) == len(set(ended))
        assert set(ended) | set(self.board.entries) == self.submitted
        assert not set(ended) & set(self.board.entries)

    @invariant()
    def each_lease_is_known_to_both_sides(self) -> None:
        held = {(key, found.job.id) for found in self.board.entries.values() for key in found.holds}
        assert held == {(worker.key, worker.job_id) for worker in self.board.workers.values() if worker.job_id}

    @invariant()
    def nobody_is_taken_for_idle_who_is_not(self) -> None:
        assert all(not worker.idle for worker in self.board.workers.values() if worker.key in self.hands)

    @invariant()
    def no_job_has_too_many_holders_or_attempts(self) -> None:
        for found in self.board.entries.values():
            assert len(found.holds) <= (MAX_HOLDERS if found.job.work.can_be_hedged else 1)
            assert found.attempts <= 4
            attempts = list(found.holders.values())
            assert len(attempts) == len(set(attempts))

    def teardown(self) -> None:
        """Left to themselves, healthy workers bring all that is open to its end."""
        for key in ("w1/99", "d1/99"):
            self.hello(key)
        for _ in range(3 * len(self.submitted) + 5):
            self.pass_time(1.5)
            for key in list(self.hands):
                self._finish(key)
        assert not self.board.entries, "a job was forgotten"


TestBoardMachine = BoardMachine.TestCase
TestBoardMachine.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
