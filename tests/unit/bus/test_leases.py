"""The board decides who does which job next, and a turn is never done twice or out of order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bus.leases import Board, Entry
from bus.messages.jobs import Heard, Job, Parked, Transcribe

SECOND = 1_000_000_000


def heard(turn: str, stream: str = "mic") -> Job:
    return Job(turn=turn, stream=stream, work=Heard(transcript="hello"))


def speech(turn: str, stream: str = "mic") -> Job:
    return Job(turn=turn, stream=stream, work=Transcribe(first_sample=0, audio_ms=1000, speech_ms=800))


def board_with(*jobs: Job, workers: dict[str, str]) -> Board:
    board = Board(max_attempts=3)
    for number, job in enumerate(jobs, 1):
        board.add(Entry(job, number, board.turn_order(job, number)))
    for key, queue in workers.items():
        board.hello(key, queue, "")
    return board


def give_out(board: Board, now_ns: int = 0) -> list[tuple[str, str]]:
    given = []
    for worker, entry in board.assignments(now_ns):
        board.lease(worker, entry, now_ns + SECOND)
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


def test_a_parked_job_holds_nobody_up() -> None:
    board = board_with(speech("a"), heard("b"), workers={"dialogue/x": "turn"})
    board.park(board.entries["a/transcribe/0"], "broken")
    assert give_out(board) == [("dialogue/x", "b/heard/0")]


def test_the_job_of_a_dead_worker_goes_to_the_next() -> None:
    board = board_with(speech("a"), workers={"whisper-1/x": "stt"})
    give_out(board)
    entry = board.gone("whisper-1/x")
    assert entry is not None
    board.put_back(entry, "died", 0)
    board.hello("whisper-1/y", "stt", "")
    assert give_out(board) == [("whisper-1/y", "a/transcribe/0")]
    assert board.entries["a/transcribe/0"].attempts == 2


def test_a_worker_that_was_late_gets_nothing_until_it_is_heard_of_again() -> None:
    board = board_with(speech("a"), workers={"whisper-1/x": "stt"})
    give_out(board)
    (entry,) = board.expired(2 * SECOND)
    board.put_back(entry, "late", 0)
    assert give_out(board, 2 * SECOND) == []
    board.credit("whisper-1/x")
    assert give_out(board, 2 * SECOND) == [("whisper-1/x", "a/transcribe/0")]


def test_a_new_dispatcher_is_reminded_of_what_a_worker_holds() -> None:
    board = board_with(speech("a"), workers={})
    board.hello("whisper-1/x", "stt", "a/transcribe/0")
    board.hello("whisper-2/x", "stt", "")
    assert give_out(board) == []
    assert board.entries["a/transcribe/0"].worker == "whisper-1/x"


def test_a_job_is_exhausted_after_its_attempts_but_the_last_word_never_is() -> None:
    board = Board(max_attempts=2)
    assert not board.exhausted(Entry(speech("a"), 1, 1, attempts=1))
    assert board.exhausted(Entry(speech("a"), 1, 1, attempts=2))
    assert not board.exhausted(Entry(Job(turn="a", stream="m", work=Parked(failed_stage="answer", reason="r")), 1, 1, attempts=9))


def test_the_next_change_is_the_nearest_deadline_or_end_of_a_delay() -> None:
    board = board_with(speech("a"), speech("b"), workers={"whisper-1/x": "stt"})
    assert board.next_change_ns(0) is None
    give_out(board)
    board.entries["b/transcribe/0"].not_before_ns = SECOND // 2
    assert board.next_change_ns(0) == SECOND // 2
    assert board.next_change_ns(SECOND // 2) == SECOND


class BoardMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order: one holder a job, one job a worker, turns of a stream in order."""

    def __init__(self) -> None:
        super().__init__()
        self.board = Board(max_attempts=3)
        self.now_ns = 0
        self.order = 0

    @rule(stream=st.sampled_from(["mic", "hear"]), late=st.booleans())
    def submit(self, stream: str, late: bool) -> None:
        self.order += 1
        job = heard(f"{stream}{self.order}", stream) if late else speech(f"{stream}{self.order}", stream)
        self.board.add(Entry(job, self.order, self.board.turn_order(job, self.order)))

    @rule(key=st.sampled_from(["w/1", "w/2", "d/1", "d/2"]))
    def hello(self, key: str) -> None:
        self.board.hello(key, "turn" if key[0] == "d" else "stt", "")

    @rule(key=st.sampled_from(["w/1", "w/2", "d/1", "d/2"]))
    def die(self, key: str) -> None:
        entry = self.board.gone(key)
        if entry is not None:
            self._take_back(entry)

    @rule()
    def give_out(self) -> None:
        for worker, entry in self.board.assignments(self.now_ns):
            assert entry.job.queue == worker.queue
            if entry.job.work.in_order:
                self._assert_first_of_its_stream(entry)
            self.board.lease(worker, entry, self.now_ns + SECOND)

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        held = [entry for entry in self.board.entries.values() if entry.worker]
        if held:
            entry = data.draw(st.sampled_from(held))
            self.board.remove(entry.job.id)
            if isinstance(entry.job.work, Transcribe):
                self.order += 1
                self.board.add(Entry(heard(entry.job.turn, entry.job.stream), self.order, entry.turn_order))

    @rule(seconds=st.floats(0, 2))
    def pass_time(self, seconds: float) -> None:
        self.now_ns += round(seconds * SECOND)
        for entry in self.board.expired(self.now_ns):
            self._take_back(entry)

    def _take_back(self, entry: Entry) -> None:
        if self.board.exhausted(entry):
            self.board.park(entry, "exhausted")
        else:
            self.board.put_back(entry, "again", 0)

    def _assert_first_of_its_stream(self, entry: Entry) -> None:
        for other in self.board.entries.values():
            if other.job.stream == entry.job.stream and not other.parked:
                assert other.turn_order >= entry.turn_order

    @invariant()
    def each_lease_is_known_to_both_sides(self) -> None:
        for entry in self.board.entries.values():
            if entry.worker:
                assert self.board.workers[entry.worker].job_id == entry.job.id
        for worker in self.board.workers.values():
            if worker.job_id:
                assert self.board.entries[worker.job_id].worker == worker.key

    @invariant()
    def attempts_never_pass_the_limit(self) -> None:
        assert all(entry.attempts <= 3 for entry in self.board.entries.values())


TestBoardMachine = BoardMachine.TestCase
TestBoardMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
