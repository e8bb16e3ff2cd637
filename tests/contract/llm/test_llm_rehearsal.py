"""The bridge against the rehearsal server, and the rehearsal server against what vLLM does."""

import http.client
import json
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from actors.llm import errors
from actors.llm.client import ChatClient, Timeouts
from actors.llm.engine import Engine
from actors.llm.prompt import build_messages
from actors.llm.tokens import TokenCounter
from actors.rehearsal_llm.server import RehearsalServer
from tests.fakes.llm_captures import capture, status_type_body
from tests.waiting import DEADLINE_S, wait_until

SHORT_S = 0.2
GUIDE = "You are a tour guide."
HELLO = "Hello! I am your tour guide. How can I help you?"


@pytest.fixture
def server() -> Iterator[RehearsalServer]:
    with RehearsalServer(now=lambda: datetime(2026, 11, 21, 9, 30)).running() as running:
        running.behave({"token_delay_ms": 0})
        yield running


def engine_of(server: RehearsalServer, model: str = "", **timeouts: float) -> Engine:
    return Engine(ChatClient(server.base_url, timeouts=Timeouts(**timeouts)), model)


def ask(engine: Engine, text: str, rounds: list[tuple[str, str]] | None = None, max_tokens: int = 64) -> str:
    return "".join(engine.reply(build_messages(GUIDE, rounds or [], text), max_tokens))


def post(server: RehearsalServer, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a bare request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_S)
    connection.request("POST", path, body, {"content-type": "application/json"})
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, data


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "rehearsal", "messages": [{"role": "user", "content": "Hello"}], **fields}).encode()


# -- the bridge --------------------------------------------------------------------------------------------------------


def test_the_only_model_is_found_without_being_named(server: RehearsalServer) -> None:
    engine = engine_of(server)
    assert engine.check() == "rehearsal"
    assert ask(engine, "Hello.") == HELLO


def test_a_conversation_is_remembered_by_its_messages(server: RehearsalServer) -> None:
    rounds = [("My name is Anna.", "Nice to meet you, Anna.")]
    assert ask(engine_of(server), "What is my name?", rounds) == "Your name is Anna."


def test_a_reply_comes_word_by_word_and_tells_how_it_ended(server: RehearsalServer) -> None:
    reply = engine_of(server).reply(build_messages("", [], "What is seven plus five?"), 64)
    assert list(reply) == ["Seven", " plus", " five", " is", " twelve."]
    assert reply.finished is not None
    assert (reply.finished.finish_reason, reply.finished.completion_tokens) == ("stop", 5)


def test_a_reply_is_cut_at_its_token_limit(server: RehearsalServer) -> None:
    reply = engine_of(server).reply(build_messages(GUIDE, [], "Hello."), 3)
    assert "".join(reply) == "Hello! I am"
    assert reply.finished is not None
    assert reply.finished.finish_reason == "length"


@pytest.mark.parametrize("template", ["alternating", "no-system"])
def test_a_strict_template_is_served_with_the_role_in_every_turn(server: RehearsalServer, template: str) -> None:
    server.behave({"template": template})
    engine = engine_of(server)
    assert ask(engine, "Hello.") == HELLO
    assert "tour guide" in ask(engine, "Who are you?", [("Hello.", HELLO)])


def test_a_template_without_a_system_role_is_found_out_once(server: RehearsalServer) -> None:
    server.behave({"template": "no-system"})
    engine = engine_of(server)
    assert not engine.needs_folding("rehearsal")
    ask(engine, "Hello.")
    assert engine.needs_folding("rehearsal")


def test_folding_can_be_demanded_and_can_be_forbidden(server: RehearsalServer) -> None:
    server.behave({"template": "no-system"})
    client = ChatClient(server.base_url)
    assert ask(Engine(client, system_role="fold"), "Hello.") == HELLO
    with pytest.raises(errors.TemplateRefusal, match="System role not supported"):
        ask(Engine(client, system_role="system"), "Hello.")


def test_a_refusal_for_another_reason_does_not_fold_for_ever(server: RehearsalServer) -> None:
    engine = engine_of(server)
    with pytest.raises(errors.PromptTooLong, match="too long for rehearsal"):
        ask(engine, "word " * 5000)
    server.behave({"fault": "empty"})
    with pytest.raises(errors.EmptyAnswer):
        ask(engine, "Hello.")
    assert not engine.needs_folding("rehearsal")


def test_a_wrong_model_name_is_answered_with_the_names_that_are_served(server: RehearsalServer) -> None:
    for action in (lambda engine: ask(engine, "Hello."), Engine.check):
        with pytest.raises(errors.ModelNotFound, match="has no model 'mistral': it serves rehearsal") as caught:
            action(engine_of(server, "mistral"))
        assert caught.value.served == ("rehearsal",)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("error-500", errors.ServerTrouble),
        ("html", errors.NotAChatServer),
        ("empty", errors.EmptyAnswer),
        ("hang", errors.FirstTokenTimeout),
        ("hang-in-reply", errors.BrokenOff),
        ("break-off", errors.BrokenOff),
        ("abort", errors.BrokenOff),
        ("engine-death", errors.BrokenOff),
    ],
)
def test_each_fault_is_the_error_that_it_means_and_the_next_reply_is_well(
    server: RehearsalServer, fault: str, kind: type[errors.LlmError]
) -> None:
    engine = engine_of(
        server, first_token_s=SHORT_S if fault == "hang" else DEADLINE_S, stall_s=SHORT_S if fault == "hang-in-reply" else DEADLINE_S
    )
    attempts = 2 if fault == "empty" else 1  # an empty answer may be a template's refusal: it is asked again, folded
    server.behave({"fault": fault, "times": attempts})
    with pytest.raises(kind) as caught:
        ask(engine, "Hello.")
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert ask(engine_of(server), "Hello.") == HELLO


def test_a_broken_reply_delivers_what_came_before(server: RehearsalServer) -> None:
    server.behave({"fault": "break-off"})
    reply = iter(engine_of(server).reply(build_messages(GUIDE, [], "Hello."), 64))
    assert next(reply) == "Hello!"


def test_cancelling_from_another_thread_ends_the_reply_and_the_generation(server: RehearsalServer) -> None:
    server.behave({"token_delay_ms": 60_000})
    reply = engine_of(server).reply(build_messages(GUIDE, [], "Hello."), 64)
    words = iter(reply)
    assert next(words) == "Hello!"
    canceller = threading.Thread(target=reply.cancel)
    canceller.start()
    with pytest.raises(errors.Cancelled):
        next(words)
    canceller.join(DEADLINE_S)
    wait_until(lambda: server.cancelled_count == 1)


def test_a_reply_cancelled_before_it_began_sends_nothing(server: RehearsalServer) -> None:
    reply = engine_of(server, "rehearsal").reply(build_messages(GUIDE, [], "Hello."), 64)
    reply.cancel()
    with pytest.raises(errors.Cancelled):
        list(reply)
    assert server.finished_count == 0


def test_the_server_counts_the_tokens(server: RehearsalServer) -> None:
    counted = TokenCounter(ChatClient(server.base_url)).count("rehearsal", build_messages(GUIDE, [], "Hello there"))
    assert (counted.tokens, counted.exact, counted.context_tokens) == (4 + 5 + 4 + 2, True, 4096)


# -- the server's likeness to vLLM -------------------------------------------------------------------------------------


def test_a_stream_has_the_shape_of_one_of_vllm(server: RehearsalServer) -> None:
    body = chat(stream=True, stream_options={"include_usage": True}, max_tokens=2)
    _, headers, data = post(server, "/v1/chat/completions", body)
    _, _, theirs = status_type_body("vllm/chat_stream_usage.resp")
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["transfer-encoding"] == "chunked"
    assert _shapes(data.decode())[:2] == _shapes(theirs)[:2]
    assert [shape.rpartition(" ")[2] for shape in _shapes(data.decode())[-3:]] == ["length", "usage", "[DONE]"]


def test_a_wrong_model_is_answered_in_the_words_of_vllm(server: RehearsalServer) -> None:
    status, _, data = post(server, "/v1/chat/completions", chat(model="nope"))
    theirs = capture("vllm/err_wrong_model.resp").partition(b"\r\n\r\n")[2]
    assert status == 404
    assert json.loads(data) == json.loads(theirs.replace(b"tiny", b"rehearsal"))


def test_roles_that_do_not_alternate_are_refused_in_the_words_of_vllm(server: RehearsalServer) -> None:
    server.behave({"template": "alternating"})
    twice = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    status, _, data = post(server, "/v1/chat/completions", chat(messages=twice))
    assert status == 400
    assert json.loads(data) == json.loads(capture("vllm/err_two_users.resp").partition(b"\r\n\r\n")[2])


def test_a_reply_can_come_in_one_piece(server: RehearsalServer) -> None:
    status, _, data = post(server, "/v1/chat/completions", chat(messages=[{"role": "user", "content": "Thanks"}]))
    choice = json.loads(data)["choices"][0]
    assert (status, choice["message"]["content"], choice["finish_reason"]) == (200, "You are welcome.", "stop")


def test_a_reply_can_be_gone_on_with_as_vllm_does(server: RehearsalServer) -> None:
    server.behave({"continues": True})
    begun = [{"role": "user", "content": "Thanks"}, {"role": "assistant", "content": "You are"}]
    _, _, data = post(server, "/v1/chat/completions", chat(messages=begun, continue_final_message=True, add_generation_prompt=False))
    assert json.loads(data)["choices"][0]["message"]["content"] == " welcome."


def test_a_request_can_ask_for_its_own_fault(server: RehearsalServer) -> None:
    assert post(server, "/v1/chat/completions", chat(rehearsal={"fault": "error-500"}))[0] == 500
    assert post(server, "/v1/chat/completions", chat())[0] == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model":"rehearsal"}', chat(messages=[{"role": "wizard", "content": "x"}])])
def test_nonsense_is_a_bad_request_and_the_server_lives_on(server: RehearsalServer, body: bytes) -> None:
    assert post(server, "/v1/chat/completions", body)[0] == 400
    assert post(server, "/rehearsal", b'{"fault": "earthquake"}')[0] == 400
    assert post(server, "/v1/chat/completions", chat())[0] == 200


def test_an_unknown_path_is_answered_as_vllm_does(server: RehearsalServer) -> None:
    status, _, data = post(server, "/v1/completions", b"{}")
    assert (status, json.loads(data)) == (404, {"detail": "Not Found"})


def _shapes(body: str) -> list[str]:
    """Of each event: the keys of its delta and its finish reason."""
    shapes = []
    for event in body.strip().split("\n\n"):
        text = event.removeprefix("data: ")
        chunk = {} if text == "[DONE]" else json.loads(text)
        choice = next(iter(chunk.get("choices", [])), None)
        shapes.append(f"{sorted(choice['delta'])} {choice['finish_reason']}" if choice else "usage" if chunk else text)
    return shapes
