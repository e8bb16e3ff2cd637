"""Counting the tokens of rounds: the server's number where it counts, nothing where it does not, and never in the way."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
from pathlib import Path

from actors.memory.counting import Counting, ServerCounter
from bus.addresses import Addresses
from bus.messages.turn import Round
from bus.settings import REHEARSAL_URL, LlmSettings, Settings
from tests.fakes.llm_server import ScriptedServer
from tests.waiting import DEADLINE_S

PAST = Round(user="where am I", assistant="In Rome.")


def answer(status: str, content: object) -> bytes:
    body = json.dumps(content).encode()
    return b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


def counter_for(url: str, runtime_dir: Path = Path("/nowhere")) -> ServerCounter:
    return ServerCounter(Settings(llm=LlmSettings(url=url, model="tiny")), Addresses(runtime_dir, runtime_dir))


def test_the_server_counts_question_and_answer_together() -> None:
    with ScriptedServer([answer("200 OK", {"count": 17, "max_model_len": 2048, "tokens": []})]).running() as server:
        assert counter_for(server.base_url)(PAST) == 17
        request = server.seen.requests[0]
    assert request.startswith(b"POST /tokenize ")
    assert json.loads(request.partition(b"\r\n\r\n")[2])["messages"] == [
        {"role": "user", "content": "where am I"},
        {"role": "assistant", "content": "In Rome."},
    ]


def test_a_server_that_does_not_count_leaves_the_estimate() -> None:
    with ScriptedServer([answer("404 Not Found", {"detail": "Not Found"})]).running() as server:
        counter = counter_for(server.base_url)
        assert [counter(PAST), counter(PAST)] == [None, None]
        assert len(server.seen.requests) == 1


def test_a_server_that_is_not_there_leaves_the_estimate() -> None:
    assert counter_for("http://127.0.0.1:9/v1")(PAST) is None


def test_a_rehearsal_server_is_followed_to_its_new_port(tmp_path: Path) -> None:
    counter = counter_for(REHEARSAL_URL, tmp_path)
    counts = [counter(PAST)]
    for count in (17, 18):
        with ScriptedServer([answer("200 OK", {"count": count})]).running() as server:
            port = server.base_url.removesuffix("/v1").rpartition(":")[2]
            (tmp_path / "rehearsal-llm.port").write_text(port)
            counts.append(counter(PAST))
    assert counts == [None, 17, 18]


def test_rounds_are_counted_one_after_the_other_and_those_without_a_count_are_not_told() -> None:
    told: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
    known = {"one": 1, "three": 3}
    counting = Counting(lambda past: known.get(past.user), lambda turn, tokens: told.put((turn, tokens)))
    counting.start()
    for turn in ("one", "two", "three"):
        counting.want(turn, Round(user=turn, assistant=""))
    assert [told.get(timeout=DEADLINE_S), told.get(timeout=DEADLINE_S)] == [("one", 1), ("three", 3)]


def test_memory_and_dialogue_start_without_what_is_large() -> None:
    program = "import sys, actors.memory.actor, actors.dialogue.actor; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert "sqlite3" in modules
    assert not {"requests", "urllib3", "rich", "click", "numpy", "structlog"} & set(modules)
