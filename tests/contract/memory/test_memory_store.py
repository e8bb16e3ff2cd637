"""The memory store on a real SQLite file: what it keeps, what it gives back, what it refuses, what is gone when forgotten."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from actors.memory import store as store_module
from actors.memory.store import Store, database_path, open_to_read
from bus.addresses import Addresses
from bus.errors import EarshotError, SetupError
from bus.messages.turn import PastAttempt, TurnRecord
from bus.settings import MemorySettings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with closing(Store(path)) as opened:
        yield opened


def record(
    turn: str, transcript: str = "what time is it", reply: str = "Noon.", *, stream: str = "mic", state: str = "answered", wall_ns: int = 1
) -> TurnRecord:
    timings = {"transcribe": 200.5, "total": 200.5}
    return TurnRecord(
        turn=turn, stream=stream, role="plain", state=state, transcript=transcript, reply=reply, wall_ns=wall_ns, timings_ms=timings
    )


ATTEMPTS = [
    PastAttempt(stage="transcribe", worker="whisper-1", number=1, begin_ms=600.5, end_ms=700.25, lost="its worker died"),
    PastAttempt(stage="transcribe", worker="whisper-2", number=2, begin_ms=700.25, end_ms=900.0),
]
FIRST_FORMAT = """
CREATE TABLE turns (
  id INTEGER PRIMARY KEY,
  turn TEXT NOT NULL UNIQUE, stream TEXT NOT NULL, role TEXT NOT NULL, state TEXT NOT NULL,
  transcript TEXT NOT NULL, reply TEXT NOT NULL, wall_ns INTEGER NOT NULL, timings_ms TEXT NOT NULL, detail TEXT NOT NULL,
  round INTEGER, tokens INTEGER NOT NULL);
CREATE UNIQUE INDEX rounds ON turns (stream, round) WHERE round IS NOT NULL;
CREATE INDEX times ON turns (wall_ns);
CREATE VIRTUAL TABLE words USING fts5 (transcript, reply, content='turns', content_rowid='id');
INSERT INTO turns VALUES (1, 't1', 'mic', 'plain', 'answered', 'what time is it', 'Noon.', 1,
  '{"transcribe":200.5,"total":200.5}', '', 0, 12);
INSERT INTO words (words) VALUES ('rebuild');
PRAGMA application_id = 0x45617273;
PRAGMA user_version = 1;
"""


def numbers(store: Store, stream: str = "mic", rounds: int = 100) -> list[int]:
    return [past.number for past in store.window(stream, rounds, 5)]


def turns(records: list[TurnRecord]) -> list[str]:
    return [each.turn for each in records]


def test_a_turn_comes_back_as_it_was_kept(store: Store) -> None:
    kept = record("t1", "wo ist das Café?", "Um die Ecke. 'So'; \"so\".")
    assert store.remember(kept, 12) == kept
    assert store.newest(10) == [kept]


def test_who_had_a_turn_and_for_how_long_comes_back_as_it_was_kept(store: Store) -> None:
    kept = msgspec.structs.replace(record("t1"), attempts=ATTEMPTS)
    assert store.remember(kept, 12) == kept
    assert store.newest(10) == [kept]


def test_the_last_turns_can_be_those_of_one_stream_or_one_turn_alone(store: Store) -> None:
    for turn, stream in (("t1", "mic"), ("t2", "hear"), ("t3", "mic"), ("t4", "mic")):
        store.remember(record(turn, stream=stream), 12)
    assert turns(store.newest(2, "mic")) == ["t3", "t4"]
    assert turns(store.newest(10, turn="t2")) == ["t2"]
    assert store.newest(10, "mic", "t2") == []


def test_a_file_of_the_first_format_is_brought_up_to_date_with_its_turns(path: Path) -> None:
    with closing(sqlite3.connect(path)) as old:
        old.executescript(FIRST_FORMAT)
    for _ in range(2):
        with closing(Store(path)) as store:
            assert store.newest(10) == [record("t1")]
            assert turns(store.search("noon", 10)) == ["t1"]
    with closing(Store(path)) as store:
        assert store.newest_number() == 1
        later = msgspec.structs.replace(record("t2"), attempts=ATTEMPTS)
        assert store.remember(later, 12) == later
        assert store.window("mic", 5, 5)[0].round.user == "what time is it"


def test_a_file_of_the_first_format_can_be_read_without_being_changed(path: Path) -> None:
    with closing(sqlite3.connect(path)) as old:
        old.executescript(FIRST_FORMAT)
    before = path.read_bytes()
    with open_to_read(path) as store:
        assert store.newest(10) == [record("t1")]
        assert store.newest_number() == 1
    assert path.read_bytes() == before


def test_a_damaged_file_of_the_first_format_is_taken_over_as_far_as_it_can_be_read(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "damaged")) as old:
        old.executescript(FIRST_FORMAT)
    with closing(Store(path)) as store:
        assert store.take_over(tmp_path / "damaged") == 1
        assert store.newest(10) == [record("t1")]


def test_a_turn_that_is_remembered_again_stays_as_it_was(store: Store) -> None:
    first = store.remember(record("t1", reply="Noon."), 12)
    assert store.remember(record("t1", reply="Midnight.", state="failed", wall_ns=99), 34) == first
    assert store.newest(10) == [first]
    assert store.search("midnight", 10) == []
    assert [past.tokens for past in store.window("mic", 5, 5)] == [12]


@pytest.mark.parametrize("given_up", ["failed", "unanswered"])
def test_an_answer_takes_the_place_of_a_failure_whichever_comes_first(store: Store, given_up: str) -> None:
    failure, answer = record("t1", "what time", "Sorry!", state=given_up), record("t1", "what time", "Noon.", wall_ns=99)
    store.remember(record("t0"), 12)
    store.remember(failure, 3)
    store.remember(record("t2"), 12)
    for each in (answer, answer, failure):
        assert store.remember(each, 5) == answer
    assert turns(store.newest(10)) == ["t0", "t2", "t1"]  # in the order in which they were over
    assert numbers(store) == [0, 1, 2]
    assert turns(store.search("noon", 10)) == ["t0", "t2", "t1"]
    assert store.search("sorry", 10) == []
    store.forget_all()
    assert store.search("noon", 10) == []


def test_a_second_failure_does_not_change_what_is_kept_of_the_first(store: Store) -> None:
    first = store.remember(record("t1", reply="Sorry!", state="failed"), 3)
    assert store.remember(record("t1", reply="", state="unanswered", wall_ns=99), 3) == first


def test_turns_are_there_after_the_file_was_closed(store: Store, path: Path) -> None:
    store.remember(record("t1"), 12)
    store.close()
    with closing(Store(path)) as again:
        assert turns(again.newest(10)) == ["t1"]


def test_only_answered_turns_are_rounds(store: Store) -> None:
    for turn, state in (("t1", "answered"), ("t2", "empty"), ("t3", "failed"), ("t4", "answered")):
        store.remember(record(turn, transcript=turn, state=state), 12)
    assert [(past.number, past.round.user) for past in store.window("mic", 5, 5)] == [(0, "t1"), (1, "t4")]


def test_each_stream_is_a_conversation_of_its_own(store: Store) -> None:
    store.remember(record("t1", stream="mic"), 12)
    store.remember(record("t2", stream="phone"), 12)
    store.remember(record("t3", stream="mic"), 12)
    assert numbers(store, "mic") == [0, 1]
    assert numbers(store, "phone") == [0]
    assert numbers(store, "nobody") == []


def test_the_window_holds_the_wanted_rounds_from_the_beginning_of_a_block(store: Store) -> None:
    for number in range(13):
        store.remember(record(f"t{number}"), 12)
    assert numbers(store, rounds=5) == [5, 6, 7, 8, 9, 10, 11, 12]
    assert numbers(store, rounds=0) == []


def test_the_last_turn_is_the_one_in_which_something_was_said_or_done(store: Store) -> None:
    assert store.last_turn("mic") is None
    store.remember(record("t1"), 1)
    store.remember(record("t2", "stop", "", state="handled"), 1)
    store.remember(record("t3", "", "", state="empty"), 1)
    store.remember(record("t4", "too late", "", state="unanswered"), 1)
    store.remember(record("h1", stream="hear"), 1)
    last = store.last_turn("mic")
    assert last is not None
    assert last.turn == "t2"
    store.remember(record("t5", "", "Pardon?", state="empty"), 1)
    last = store.last_turn("mic")
    assert last is not None
    assert last.turn == "t5"


def test_the_last_answer_is_that_of_the_stream_and_gone_when_it_is_forgotten(store: Store) -> None:
    assert store.last_answer("mic") == ""
    store.remember(record("t1", reply="One."), 1)
    store.remember(record("t2", reply="Two."), 1)
    store.remember(record("t3", reply="Pardon?", state="empty"), 1)
    store.remember(record("h1", reply="Three.", stream="hear"), 1)
    assert store.last_answer("mic") == "Two."
    store.forget_turn("t2")
    assert store.last_answer("mic") == "One."


def test_a_count_takes_the_place_of_the_estimate(store: Store) -> None:
    store.remember(record("t1"), 12)
    store.set_tokens("t1", 9)
    assert [past.tokens for past in store.window("mic", 5, 5)] == [9]


def test_a_count_for_a_turn_that_was_forgotten_meanwhile_does_nothing(store: Store) -> None:
    store.set_tokens("gone", 9)
    assert store.newest(10) == []


def test_the_newest_turns_are_listed_oldest_first(store: Store) -> None:
    for number in range(5):
        store.remember(record(f"t{number}"), 12)
    assert turns(store.newest(3)) == ["t2", "t3", "t4"]


@pytest.fixture(params=["with FTS5", "without FTS5"])
def searched(request: pytest.FixtureRequest, path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store with three turns, with an index of words and as where SQLite has none."""
    if request.param == "without FTS5":
        monkeypatch.setattr(store_module, "_CAN_INDEX", "SELECT 0")
    with closing(Store(path)) as opened:
        opened.remember(record("t1", "tell me a joke", "A 100% funny one."), 12)
        opened.remember(record("t2", "what is my name", "Your name is Ada."), 12)
        opened.remember(record("t3", "another joke please", 'No "more" jokes.'), 12)
        yield opened


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("joke", ["t1", "t3"]),
        ("JOKE", ["t1", "t3"]),
        ("jok", ["t1", "t3"]),
        ("joke funny", ["t1"]),
        ("ada", ["t2"]),
        ("100%", ["t1"]),
        ("zebra", []),
        ("", []),
        ("   ", []),
        ('"more"', ["t3"]),
        ("joke zebra", []),
    ],
)
def test_a_search_finds_the_turns_with_all_the_words(searched: Store, text: str, found: list[str]) -> None:
    assert turns(searched.search(text, 10)) == found


@pytest.mark.parametrize("text", ['"', "AND", "joke OR", "NEAR(", "transcript:x", "*", "%", "_", "\\", "a'b", "-x", "^y"])
def test_no_search_text_is_an_error(searched: Store, text: str) -> None:
    searched.search(text, 10)


def test_a_percent_sign_is_no_wildcard(searched: Store) -> None:
    assert "t2" not in turns(searched.search("n%me", 10))


def test_a_search_gives_the_newest_finds(searched: Store) -> None:
    assert turns(searched.search("joke", 1)) == ["t3"]


def test_an_export_is_limited_by_stream_and_time(store: Store) -> None:
    store.remember(record("t1", stream="mic", wall_ns=10), 12)
    store.remember(record("t2", stream="phone", wall_ns=20), 12)
    store.remember(record("t3", stream="mic", wall_ns=30), 12)
    assert turns(list(store.export())) == ["t1", "t2", "t3"]
    assert turns(list(store.export(stream="mic"))) == ["t1", "t3"]
    assert turns(list(store.export(since_ns=20))) == ["t2", "t3"]
    assert turns(list(store.export("mic", 20))) == ["t3"]


def test_forgetting_takes_what_was_named_and_leaves_the_rest(store: Store) -> None:
    for number, stream in enumerate(["mic", "phone", "mic", "phone", "door"]):
        store.remember(record(f"t{number}", stream=stream, wall_ns=number), 12)
    assert store.forget_turn("t4") == 1
    assert store.forget_turn("t4") == 0
    assert store.forget_before(1) == 1
    assert store.forget_stream("phone") == 2
    assert turns(store.newest(10)) == ["t2"]
    assert store.forget_all() == 1
    assert store.newest(10) == []


def test_what_was_forgotten_is_not_found_and_not_told_to_the_model(store: Store) -> None:
    store.remember(record("t1", "my secret is xylophone"), 12)
    store.remember(record("t2", "hello"), 12)
    store.forget_turn("t1")
    assert store.search("xylophone", 10) == []
    assert [past.round.user for past in store.window("mic", 5, 5)] == ["hello"]
    assert turns(store.search("hello", 10)) == ["t2"]


def test_what_was_forgotten_is_nowhere_in_the_files(store: Store, path: Path) -> None:
    for number in range(200):
        store.remember(record(f"t{number}", f"question number {number}", "An answer of some length." * 5), 12)
    store.remember(record("secret", "my secret is xylophone", "I will keep the xylophone to myself."), 12)
    before = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert before.count(b"xylophone") >= 3  # twice in the turn, and in the index of words
    assert store.forget_turn("secret") == 1
    after = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"xylophone" not in after
    assert after.count(b"question number") >= 200


def test_after_forgetting_the_last_round_its_number_is_given_again(store: Store) -> None:
    store.remember(record("t1"), 12)
    store.remember(record("t2"), 12)
    store.forget_turn("t2")
    store.remember(record("t3"), 12)
    assert numbers(store) == [0, 1]


def test_two_programs_use_the_file_at_once(store: Store, path: Path) -> None:
    store.remember(record("t1"), 12)
    with closing(Store(path, create=False)) as other:
        store.remember(record("t2"), 12)
        assert turns(other.newest(10)) == ["t1", "t2"]
        assert other.forget_turn("t1") == 1
        assert [past.number for past in store.window("mic", 5, 5)] == [1]


def test_the_file_is_for_its_user_only(store: Store, path: Path) -> None:
    store.remember(record("t1"), 12)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert len(modes) == 3  # the log and its index too
    assert set(modes.values()) == {0o600}


def test_a_directory_that_is_not_there_is_made(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "a" / "b" / "memory.sqlite3")) as opened:
        opened.remember(record("t1"), 12)


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("Dear diary, " * 100)
    path.chmod(0o644)
    with pytest.raises(SetupError, match=f"cannot use {path}: file is not a database"):
        Store(path)
    assert path.read_text() == "Dear diary, " * 100
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_the_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(SetupError, match="belongs to another program"):
        Store(path)
    assert path.read_bytes() == before


def test_a_file_of_a_newer_version_is_refused(store: Store, path: Path) -> None:
    store.close()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 7")
    with pytest.raises(SetupError, match="newer Earshot \\(format 7, this one knows 2\\)"):
        Store(path)


def test_an_index_of_words_that_this_sqlite_cannot_keep_is_refused(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.close()
    monkeypatch.setattr(store_module, "_CAN_INDEX", "SELECT 0")
    with pytest.raises(SetupError, match="no FTS5"):
        Store(path)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match=r"set memory\.database to a file that can be written"):
        Store(tmp_path / "file" / "memory.sqlite3")


def test_a_file_that_is_locked_when_it_is_made_can_be_tried_again(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(EarshotError, match="another program keeps it locked") as caught:
            Store(path)
        assert not isinstance(caught.value, SetupError)


def test_a_missing_file_is_not_made_when_that_is_not_wanted(path: Path) -> None:
    with pytest.raises(SetupError, match="unable to open"):
        Store(path, create=False)
    assert not path.exists()


def test_the_file_stands_in_the_state_directory_unless_the_settings_name_another() -> None:
    addresses = Addresses(Path("/run/x"), Path("/state"))
    assert database_path(MemorySettings(), addresses) == Path("/state/memory.sqlite3")
    assert database_path(MemorySettings(database="mine.db"), addresses) == Path("/state/mine.db")
    assert database_path(MemorySettings(database="/data/mine.db"), addresses) == Path("/data/mine.db")
    assert database_path(MemorySettings(database="~/mine.db"), addresses) == Path("~/mine.db").expanduser()


REMEMBER_FOR_EVER = """
import itertools, pathlib, sys
from actors.memory.store import Store
from bus.messages.turn import PastAttempt, TurnRecord
store = Store(pathlib.Path(sys.argv[1]))
for number in itertools.count():
    turn = f"{sys.argv[2]}-{number}"
    store.remember(TurnRecord(turn=turn, stream="mic", role="plain", state="answered", transcript="hello " * 50, reply="there " * 200,
                              wall_ns=1, timings_ms={}), 12)
    print(turn, flush=True)
"""


@pytest.mark.parametrize("said_before_the_kill", [0, 1, 40])
def test_a_kill_in_the_middle_of_remembering_leaves_the_store_whole(path: Path, said_before_the_kill: int) -> None:
    """The process never waits between two turns, so the signal meets it while it writes."""
    told: list[str] = []
    for life in range(3):
        child = subprocess.Popen([sys.executable, "-c", REMEMBER_FOR_EVER, str(path), str(life)], stdout=subprocess.PIPE, text=True)
        assert child.stdout
        told += [child.stdout.readline().strip() for _ in range(said_before_the_kill + 1)]
        child.kill()
        told += child.stdout.read().split()
        child.wait()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")  # raises when index and turns differ
    with closing(Store(path)) as store:
        kept = turns(list(store.export()))
        assert set(told) <= set(kept)
        assert len(kept) <= len(told) + 3  # at most one turn a life was kept and not told any more
        assert numbers(store, rounds=10_000) == list(range(len(kept)))


def test_an_answer_of_which_nothing_was_heard_is_no_round_of_the_conversation(store: Store) -> None:
    store.remember(record("t1", "who are you", "A voice."), 10)
    kept = store.remember(record("t2", "what time is it", ""), 10)
    assert (kept.state, kept.reply) == ("answered", "")
    assert [past.round.user for past in store.window("mic", 8, 4)] == ["who are you"]
    assert store.last_answer("mic") == "A voice."
