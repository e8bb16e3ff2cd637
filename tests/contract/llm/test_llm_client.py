"""The client against bytes on a real socket: captured answers, and servers that misbehave."""

import gc
import itertools
import socket
import threading
import weakref
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.llm import errors
from actors.llm.client import ChatClient, ChatReply, Timeouts
from actors.llm.engine import Engine
from actors.llm.prompt import Message, build_messages, estimate_tokens
from actors.llm.tokens import TokenCounter
from bus.clock import ManualClock
from tests.fakes.llm_captures import capture
from tests.fakes.llm_server import Script, ScriptedServer, Step
from tests.waiting import DEADLINE_S, wait_until

SHORT_S = 0.1
MESSAGES = build_messages("You are kind.", [], "Hello there")
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
CHUNKED_HEAD = HEAD + b"transfer-encoding: chunked\r\n\r\n"
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def plain(content_type: str, body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (status.encode(), content_type.encode(), len(body), body)


def client_of(server: ScriptedServer, **timeouts: float) -> ChatClient:
    return ChatClient(server.base_url, timeouts=Timeouts(**timeouts))


def ask(*script: bytes | Step, **timeouts: float) -> tuple[str, ChatReply]:
    """The whole reply of a server that plays this script."""
    with ScriptedServer(script).running() as server:
        reply = client_of(server, **timeouts).reply("tiny", MESSAGES, 64)
        return "".join(reply), reply


def failure(*script: bytes | Step, **timeouts: float) -> errors.LlmError:
    with pytest.raises(errors.LlmError) as caught:
        ask(*script, **timeouts)
    assert "\n" not in str(caught.value)
    return caught.value


def test_replies_that_are_over_leave_no_connection_and_nothing_in_memory() -> None:
    replies = [ask(capture("vllm/chat_stream_usage.resp"))[1]]
    connection = replies[0]._socket
    assert connection is not None
    wait_until(lambda: connection.fileno() == -1)
    over = weakref.ref(replies.pop())

    def is_gone() -> bool:
        gc.collect()
        return over() is None

    wait_until(is_gone)


# -- captured answers --------------------------------------------------------------------------------------------------


def test_a_captured_stream_is_the_reply_that_vllm_gave() -> None:
    text, reply = ask(capture("vllm/chat_stream_usage.resp"))
    assert text == "ha up\ufffdPlike"
    assert reply.finished is not None
    assert reply.finished.completion_tokens == 8


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(min_value=1, max_value=2400), max_size=30, unique=True))
def test_a_captured_stream_may_be_cut_anywhere(points: list[int]) -> None:
    data = capture("vllm/chat_stream_usage.resp")
    edges = [0, *sorted(points), len(data)]
    pieces = [data[first:second] for first, second in itertools.pairwise(edges)]
    assert ask(*pieces)[0] == "ha up\ufffdPlike"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("vllm/err_wrong_model_stream.resp", errors.ModelNotFound),
        ("vllm/err_prompt_too_long_stream.resp", errors.PromptTooLong),
        ("vllm/err_two_users_stream.resp", errors.TemplateRefusal),
        ("vllm/key_wrong.resp", errors.Unauthorized),
        ("vllm/get_notfound.resp", errors.NotAChatServer),
        ("vllm/sigterm.stream.raw", errors.BrokenOff),
        ("vllm/enginekill.stream.raw", errors.BrokenOff),
        ("llamacpp/err_two_users_stream.resp", errors.EmptyAnswer),
        ("llamacpp/err_prompt_too_long_stream.resp", errors.EmptyAnswer),
    ],
)
def test_each_captured_failure_is_the_error_that_it_means(name: str, kind: type[errors.LlmError]) -> None:
    assert type(failure(capture(name))) is kind


@settings(max_examples=50, deadline=None)
@given(st.integers(min_value=0, max_value=2200))
def test_a_captured_stream_that_dies_anywhere_before_its_finish_is_no_reply(length: int) -> None:
    data = capture("vllm/chat_stream.resp")
    before_finish = data[: data.index(b'"finish_reason":"length"')]
    error = failure(before_finish[:length])
    assert isinstance(error, (errors.BrokenOff, errors.EmptyAnswer, errors.ServerUnavailable))
    assert error.retryable


def test_the_served_models_are_listed_with_their_context() -> None:
    with ScriptedServer([capture("vllm/get_models.resp")]).running() as server:
        (model,) = client_of(server).models()
    assert (model.name, model.context_tokens) == ("tiny", 2048)


def test_of_several_served_models_one_must_be_chosen() -> None:
    listing = plain("application/json", b'{"data":[{"id":"small"},{"id":"large"}]}')
    with ScriptedServer([listing]).running() as server:
        with pytest.raises(errors.ModelNotFound, match=r"set llm\.model to one of small, large"):
            Engine(client_of(server), "").model()
        assert Engine(client_of(server), "large").check() == "large"


def test_a_server_without_a_model_is_not_ready_yet() -> None:
    with ScriptedServer([plain("application/json", b'{"data":[]}')]).running() as server, pytest.raises(errors.ServerUnavailable):
        Engine(client_of(server), "").check()


def test_the_request_is_what_the_protocol_says() -> None:
    with ScriptedServer([capture("vllm/chat_stream.resp")]).running() as server:
        client = ChatClient(server.base_url, api_key="secret", options={"temperature": 0.5})
        list(client.reply("tiny", MESSAGES, 64))
        head, _, body = server.seen.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions ")
    assert b"Authorization: Bearer secret" in head
    for part in (b'"model": "tiny"', b'"max_tokens": 64', b'"stream": true', b'"temperature": 0.5', b'"role": "system"'):
        assert part in body


# -- servers that misbehave --------------------------------------------------------------------------------------------


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on and nobody else is given meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def test_a_server_that_refuses_is_unavailable_and_may_come(closed_port: int) -> None:
    client = ChatClient(f"http://127.0.0.1:{closed_port}/v1")
    with pytest.raises(errors.ServerUnavailable, match="connection refused") as caught:
        list(client.reply("tiny", MESSAGES, 64))
    assert caught.value.retryable
    with pytest.raises(errors.ServerUnavailable, match="connection refused"):
        client.models()


def test_a_name_that_does_not_resolve_is_told() -> None:
    with pytest.raises(errors.ServerUnavailable, match="no LLM server answers at"):
        list(ChatClient("http://nowhere.invalid:8000/v1").reply("tiny", MESSAGES, 64))


@pytest.mark.parametrize("url", ["localhost:8000/v1", "http:///v1", "ftp://localhost/v1", ""])
def test_an_address_that_is_none_is_told_with_an_example(url: str) -> None:
    with pytest.raises(errors.NotAChatServer, match="write it like http://localhost:8000/v1"):
        list(ChatClient(url).reply("tiny", MESSAGES, 64))


def test_a_server_that_hangs_before_its_headers_is_given_up() -> None:
    assert type(failure(Step.HANG, first_token_s=SHORT_S)) is errors.FirstTokenTimeout


def test_a_server_that_hangs_after_its_headers_is_given_up() -> None:
    assert type(failure(CHUNKED_HEAD, Step.HANG, first_token_s=SHORT_S)) is errors.FirstTokenTimeout


def test_a_server_that_only_keeps_the_connection_alive_is_given_up() -> None:
    assert type(failure(HEAD + b"\r\n", Step.DRIP, first_token_s=5 * SHORT_S)) is errors.FirstTokenTimeout


def test_a_server_that_hangs_in_mid_stream_is_given_up() -> None:
    error = failure(CHUNKED_HEAD, chunk(TOKEN), Step.HANG, stall_s=SHORT_S)
    assert type(error) is errors.BrokenOff
    assert "nothing came for 0.1 s" in str(error)


def test_a_reply_that_goes_on_too_long_is_given_up() -> None:
    clock = ManualClock()
    with ScriptedServer([CHUNKED_HEAD, chunk(TOKEN), Step.HANG]).running() as server:
        client = ChatClient(server.base_url, timeouts=Timeouts(total_s=60, stall_s=120), clock=clock)
        reply = client.reply("tiny", MESSAGES, 64)
        assert next(reply) == "Hi"
        clock.advance_s(61)
        with pytest.raises(errors.ReplyTimeout, match="took over 60 s"):
            next(reply)
        assert server.seen.client_left.wait(DEADLINE_S)


def test_a_web_page_is_no_reply() -> None:
    error = failure(plain("text/html; charset=utf-8", b"<html>It works!</html>"))
    assert type(error) is errors.NotAChatServer
    assert "a web page" in str(error)


def test_an_empty_answer_is_no_reply() -> None:
    assert type(failure(plain("text/event-stream", b""))) is errors.EmptyAnswer


def test_a_server_that_hangs_up_without_a_word_may_come_back() -> None:
    error = failure()
    assert type(error) is errors.ServerUnavailable
    assert "it hung up" in str(error)


def test_a_reset_in_mid_stream_is_broken_off() -> None:
    assert type(failure(CHUNKED_HEAD, chunk(TOKEN), Step.RESET)) is errors.BrokenOff


def test_a_server_that_dies_in_mid_stream_breaks_off_after_what_it_said() -> None:
    with ScriptedServer([CHUNKED_HEAD, chunk(TOKEN)]).running() as server:
        reply = client_of(server).reply("tiny", MESSAGES, 64)
        assert next(reply) == "Hi"
        with pytest.raises(errors.BrokenOff, match="the connection ended in the middle"):
            next(reply)


def test_bytes_that_are_no_utf_8_are_broken_off() -> None:
    assert type(failure(CHUNKED_HEAD, chunk(b"data: \xff\xfe\n\n"), chunk(b"")[:-2])) is errors.BrokenOff


def test_an_endless_stream_is_broken_off() -> None:
    endless = [CHUNKED_HEAD, *[chunk(b": " + b"x" * 65536)] * 20]
    assert "more than 512 KiB" in str(failure(*endless, Step.HANG))


def test_a_redirect_is_not_followed() -> None:
    with ScriptedServer([b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"]).running() as server:
        with pytest.raises(errors.NotAChatServer, match="redirects"):
            list(client_of(server).reply("tiny", MESSAGES, 64))
        assert len(server.seen.requests) == 1


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port}")
    assert ask(capture("vllm/chat_stream.resp"))[0]


# -- the end of a reply ------------------------------------------------------------------------------------------------


def test_a_whole_reply_is_whole_though_the_connection_dies_after_it() -> None:
    assert ask(CHUNKED_HEAD, chunk(TOKEN), chunk(FINISH), Step.RESET)[0] == "Hi"


def test_a_reply_on_a_connection_that_just_closes_is_read_as_it_comes() -> None:
    """A server without chunked encoding: the text must be there before the connection ends."""
    with ScriptedServer([HEAD + b"\r\n", TOKEN, Step.HANG]).running() as server:
        assert next(client_of(server).reply("tiny", MESSAGES, 64)) == "Hi"
    assert ask(HEAD + b"\r\n", TOKEN, FINISH)[0] == "Hi"


# -- cancelling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [[], [CHUNKED_HEAD], [CHUNKED_HEAD, chunk(TOKEN)]], ids=["headers", "token", "next token"])
def test_a_reply_can_be_cancelled_while_waiting_for(before: list[bytes]) -> None:
    script: Script = [*before, Step.HANG]
    outcome: list[BaseException] = []
    with ScriptedServer(script).running() as server:
        reply = client_of(server, first_token_s=300, stall_s=300, total_s=300).reply("tiny", MESSAGES, 64)
        waiting = threading.Thread(target=lambda: outcome.append(_outcome(reply)))
        waiting.start()
        reply.cancel()
        waiting.join(DEADLINE_S)
    assert [type(error) for error in outcome] == [errors.Cancelled]


def test_cancelling_closes_the_connection_so_that_the_server_stops() -> None:
    with ScriptedServer([CHUNKED_HEAD, chunk(TOKEN), Step.HANG]).running() as server:
        reply = client_of(server).reply("tiny", MESSAGES, 64)
        next(reply)
        reply.cancel()
        assert server.seen.client_left.wait(DEADLINE_S)
        with pytest.raises(errors.Cancelled):
            next(reply)


def test_cancelling_closes_the_connection_though_the_server_has_not_sent_headers_yet() -> None:
    with ScriptedServer([Step.HANG]).running() as server:
        reply = client_of(server, first_token_s=300, stall_s=300, total_s=300).reply("tiny", MESSAGES, 64)
        waiting = threading.Thread(target=_outcome, args=(reply,))
        waiting.start()
        wait_until(lambda: server.seen.requests)
        reply.cancel()
        assert server.seen.client_left.wait(DEADLINE_S)
        waiting.join(DEADLINE_S)


def _outcome(reply: ChatReply) -> BaseException:
    try:
        list(reply)
    except errors.LlmError as error:
        return error
    return AssertionError("the reply ended as if it were complete")


# -- counting tokens ---------------------------------------------------------------------------------------------------


def count(*scripts: Script, times: int = 1, messages: list[Message] = MESSAGES) -> tuple[list[object], int]:
    with ScriptedServer(*scripts).running() as server:
        counter = TokenCounter(client_of(server))
        counts: list[object] = [counter.count("tiny", messages) for _ in range(times)]
        return [(each.tokens, each.exact) for each in counts], len(server.seen.requests)  # type: ignore[attr-defined]


def test_the_server_counts_where_it_can() -> None:
    with ScriptedServer([capture("vllm/tok_messages.resp")]).running() as server:
        counted = TokenCounter(client_of(server)).count("tiny", MESSAGES)
        assert server.seen.requests[0].startswith(b"POST /tokenize ")
    assert (counted.tokens, counted.exact, counted.context_tokens) == (8, True, 2048)


def test_a_server_that_cannot_count_is_asked_once() -> None:
    counts, requests = count([capture("vllm/get_notfound.resp")], times=3)
    assert counts == [(estimate_tokens(MESSAGES), False)] * 3
    assert requests == 1


def test_a_tokenize_that_means_something_else_is_not_believed() -> None:
    counts, requests = count([plain("application/json", b'{"tokens":[]}')], times=2)
    assert counts == [(estimate_tokens(MESSAGES), False)] * 2
    assert requests == 1


def test_a_server_in_trouble_is_asked_again_the_next_time() -> None:
    counts, _ = count([plain("text/plain", b"", "500 Oops")], [capture("vllm/tok_messages.resp")], times=2)
    assert counts == [(estimate_tokens(MESSAGES), False), (8, True)]


def test_messages_that_the_template_refuses_are_counted_folded() -> None:
    counts, _ = count([capture("vllm/err_two_users.resp")], [capture("vllm/tok_messages.resp")])
    assert counts == [(8, True)]
