"""The bridge against a real vLLM. `tests/vllm/install` installs it (2.5 GB); where it is not, these tests are skipped."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from actors.llm import errors
from actors.llm.client import ChatClient, Timeouts
from actors.llm.engine import Engine
from actors.llm.prompt import build_messages, fold_system
from actors.llm.tokens import TokenCounter
from bus.messages.reply import ReplyDiscarded
from tests.contract.llm.bridge import Bench, llm_at
from tests.ports import port_without_a_server

ROOT = Path(__file__).parents[3]
VENV = Path(os.environ.get("EARSHOT_VLLM_VENV") or ROOT / ".vllm-venv")
REPLY = "Hello from the kitchen lamp, how can we turn on your music today?"  # what tests/vllm/install teaches the model
CONTEXT_TOKENS = 2048
LONG_REPLY_TOKENS = 1900
KEY = "sesame"
START_DEADLINE_S = 240.0
DEADLINE_S = 60.0
POLL_S = 0.25
STOP_S = 10.0

pytestmark = [
    pytest.mark.skipif(not (VENV / "installed.lock").exists(), reason=f"no vLLM in {VENV}: run tests/vllm/install"),
    pytest.mark.timeout(START_DEADLINE_S + 4 * DEADLINE_S),
]


@dataclass(frozen=True)
class Server:
    """A vLLM process and where it is."""

    process: subprocess.Popen[bytes]
    base_url: str
    log: Path


@contextmanager
def starting_vllm(model: str, log: Path, *arguments: str) -> Iterator[Server]:
    """A vLLM that is on its way to serve `model`, until the end of the block."""
    with port_without_a_server() as port:  # it takes half a minute until it listens there
        command = [str(ROOT / "tests/vllm/serve"), str(VENV), model, str(port), *arguments]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            yield Server(process, f"http://127.0.0.1:{port}/v1", log)
        finally:
            _stop(process)


def _await_ready(server: Server) -> None:
    """Wait as the bridge does: the server refuses connections until it is ready."""
    client = ChatClient(server.base_url, api_key=KEY)
    deadline_s = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline_s:
        assert server.process.poll() is None, f"vLLM exited with {server.process.returncode}:\n{server.log.read_text()[-3000:]}"
        try:
            client.models()
        except errors.ServerUnavailable:
            threading.Event().wait(POLL_S)
        else:
            return
    raise AssertionError(f"vLLM was not ready within {START_DEADLINE_S:g} s:\n{server.log.read_text()[-3000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and its engine process."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Two servers, started side by side because each takes half a minute."""
    logs = tmp_path_factory.mktemp("vllm")
    with (
        starting_vllm("scripted", logs / "scripted.log") as scripted,
        starting_vllm("endless", logs / "endless.log", "--api-key", KEY) as endless,
    ):
        for server in (scripted, endless):
            _await_ready(server)
        yield scripted, endless


@pytest.fixture
def scripted(servers: tuple[Server, Server]) -> str:
    """Address of a model that always says REPLY and whose template refuses a system role."""
    return servers[0].base_url


@pytest.fixture
def endless(servers: tuple[Server, Server]) -> str:
    """Address of a model that says REPLY again and again, with a template of alternating roles, behind an API key."""
    return servers[1].base_url


def engine_of(base_url: str, model: str = "") -> Engine:
    return Engine(ChatClient(base_url, api_key=KEY, timeouts=Timeouts(first_token_s=DEADLINE_S)), model)


def test_the_reply_is_the_one_that_the_model_was_taught(scripted: str) -> None:
    engine = engine_of(scripted)
    assert engine.check() == "tiny"
    reply = engine.reply(build_messages("", [], "Hello there"), 64)
    pieces = list(reply)
    assert "".join(pieces) == REPLY
    assert len(pieces) > 1
    assert reply.finished is not None
    assert reply.finished.finish_reason == "stop"
    assert reply.finished.completion_tokens


def test_a_template_without_a_system_role_is_served_folded_in_every_turn(scripted: str) -> None:
    engine = engine_of(scripted)
    first = build_messages("You are a tour guide.", [], "Hello there")
    with pytest.raises(errors.TemplateRefusal, match="System role not supported"):
        list(engine.client.reply("tiny", first, 64))
    assert "".join(engine.reply(first, 64)) == REPLY
    assert engine.needs_folding("tiny")
    second = build_messages("You are a tour guide.", [("Hello there", REPLY)], "What is that?")
    assert "".join(engine.reply(second, 64)) == REPLY


def test_a_wrong_model_name_is_answered_with_the_served_one(scripted: str) -> None:
    with pytest.raises(errors.ModelNotFound) as caught:
        list(engine_of(scripted, "mistral").reply(build_messages("", [], "Hello"), 64))
    assert caught.value.served == ("tiny",)


def test_a_prompt_over_the_context_is_too_long(scripted: str) -> None:
    for words in (CONTEXT_TOKENS, 100 * CONTEXT_TOKENS):  # refused by its tokens, and by its characters alone
        with pytest.raises(errors.PromptTooLong):
            list(engine_of(scripted).reply(build_messages("", [], "zebra " * words), 64))


def test_a_reply_is_cut_at_its_token_limit(scripted: str) -> None:
    reply = engine_of(scripted).reply(build_messages("", [], "Hello"), 3)
    assert REPLY.startswith("".join(reply))
    assert reply.finished is not None
    assert (reply.finished.finish_reason, reply.finished.completion_tokens) == ("length", 3)


@pytest.mark.parametrize("begun", ["Hello from the kitchen", "Hello from the kitchen lamp,", "Hello"])
def test_a_reply_that_broke_off_goes_on_where_it_was(scripted: str, begun: str) -> None:
    engine = engine_of(scripted)
    engine.check()
    assert engine.continues
    for messages in (build_messages("You are kind.", [], "Hello"), build_messages("", [("Hello there", REPLY)], "And now?")):
        reply = engine.reply(messages, 64, begun=begun)
        assert begun + "".join(reply) == REPLY
        assert reply.finished is not None
        assert reply.finished.finish_reason == "stop"


def test_the_server_counts_the_tokens_of_the_folded_messages(scripted: str) -> None:
    messages = build_messages("You are kind.", [], "Hello there")
    counter = TokenCounter(ChatClient(scripted))
    counted = counter.count("tiny", messages)
    assert counted.exact
    assert counted.context_tokens == CONTEXT_TOKENS
    assert counted == counter.count("tiny", fold_system(messages))
    reply = engine_of(scripted).reply(messages, 64)
    list(reply)
    assert reply.finished is not None
    assert reply.finished.prompt_tokens == counted.tokens


def test_a_missing_key_is_told_with_its_environment_variable(endless: str) -> None:
    with pytest.raises(errors.Unauthorized, match=r"\$EARSHOT_LLM_API_KEY"):
        list(ChatClient(endless).reply("tiny", build_messages("", [], "Hello"), 64))


def test_cancelling_in_mid_reply_stops_the_generation(endless: str) -> None:
    generated_before = metric(endless, "generation_tokens_total")
    reply = engine_of(endless, "tiny").reply(build_messages("", [], "Hello"), LONG_REPLY_TOKENS)
    text = iter(reply)
    next(text)
    canceller = threading.Thread(target=reply.cancel)
    canceller.start()
    with pytest.raises(errors.Cancelled):
        for _ in text:
            pass
    canceller.join(DEADLINE_S)
    deadline_s = time.monotonic() + DEADLINE_S
    while metric(endless, "num_requests_running") and time.monotonic() < deadline_s:
        threading.Event().wait(POLL_S)
    assert metric(endless, "num_requests_running") == 0
    assert metric(endless, "generation_tokens_total") - generated_before < LONG_REPLY_TOKENS


def test_an_answer_begun_ahead_of_time_is_stopped_when_the_speaker_goes_on(
    endless: str, make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARSHOT_LLM_API_KEY", KEY)
    generated_before = metric(endless, "generation_tokens_total")
    bench = make_bench(llm_at(endless, "tiny"))
    bench.start("llm")
    bench.ask_ahead("Hello", max_tokens=LONG_REPLY_TOKENS)
    bench.until(lambda: metric(endless, "num_requests_running"))
    bench.jobs.withdraw("t1")
    bench.until(lambda: bench.bodies(ReplyDiscarded) and not metric(endless, "num_requests_running"))
    assert metric(endless, "generation_tokens_total") - generated_before < LONG_REPLY_TOKENS
    assert [type(message.body) for message in bench.events if message.topic.startswith("reply.")] == [ReplyDiscarded]


def test_stopping_the_server_breaks_the_reply_off(servers: tuple[Server, Server]) -> None:
    """Last in this file, for it ends the server. After SIGTERM vLLM closes the stream in good order: an abort, then [DONE]."""
    server = servers[1]
    text = iter(engine_of(server.base_url, "tiny").reply(build_messages("", [], "Hello"), LONG_REPLY_TOKENS))
    next(text)
    server.process.terminate()
    with pytest.raises(errors.BrokenOff):
        for _ in text:
            pass


def metric(base_url: str, name: str) -> float:
    """One of the server's own figures."""
    text = requests.get(base_url.removesuffix("/v1") + "/metrics", timeout=DEADLINE_S).text
    found = re.search(rf"^vllm:{name}\{{.*?\}} ([0-9.e+]+)$", text, re.MULTILINE)
    assert found is not None
    return float(found[1])
