import contextlib
import itertools
from collections.abc import Iterator

import pytest
import sseclient
from hypothesis import given
from hypothesis import strategies as st

from actors.llm import answers, errors
from actors.llm.stream import Finished, ReplyParser
from tests.fakes.llm_captures import status_type_body

AT = answers.Endpoint("http://localhost:8000/v1", "tiny", "EARSHOT_LLM_API_KEY")
UMLAUTS = 'data: {"choices":[{"index":0,"delta":{"content":"Grüße, 你好 🎵"},"finish_reason":null}]}\n\n'
FINISH = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def read(pieces: list[bytes]) -> tuple[str, Finished]:
    """What the bridge makes of a body that comes in these pieces."""
    parser = ReplyParser(AT)
    text = "".join(parser.feed(event.data) for event in sseclient.SSEClient(iter(pieces)).events())
    return text, parser.finish()


def body(capture: str) -> bytes:
    return status_type_body(capture)[2].encode()


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted({point % (len(data) + 1) for point in at}), len(data)]
    return [data[first:second] for first, second in itertools.pairwise(edges)]


def test_a_captured_reply_has_the_text_and_the_usage_that_vllm_sent() -> None:
    text, finished = read([body("vllm/chat_stream_usage.resp")])
    assert text == "ha up\ufffdPlike"
    assert finished == Finished("length", prompt_tokens=5, completion_tokens=8)


def test_a_captured_reply_of_llama_cpp_is_read_too() -> None:
    text, finished = read([body("llamacpp/chat_stream.resp")])
    assert text.startswith("ha upPlike")
    assert finished.finish_reason == "length"


@given(st.lists(st.integers(min_value=0, max_value=10_000), max_size=40))
def test_a_reply_is_the_same_wherever_its_bytes_are_cut(at: list[int]) -> None:
    data = body("vllm/chat_stream_usage.resp") + UMLAUTS.encode() + FINISH.encode()
    assert read(cut(data, at)) == read([data])


def test_each_byte_may_come_alone() -> None:
    data = (UMLAUTS + FINISH).encode()
    assert read([bytes([byte]) for byte in data])[0] == "Grüße, 你好 🎵"


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_other_line_ends_are_understood(newline: str) -> None:
    data = (UMLAUTS + FINISH).replace("\n", newline).encode()
    assert read([bytes([byte]) for byte in data])[0] == "Grüße, 你好 🎵"


def test_a_text_is_given_as_soon_as_its_event_is_there() -> None:
    asked_for: list[str] = []

    def source() -> Iterator[bytes]:
        asked_for.append("first")
        yield UMLAUTS.encode()
        asked_for.append("second")
        yield FINISH.encode()

    event = next(iter(sseclient.SSEClient(source()).events()))
    assert ReplyParser(AT).feed(event.data) == "Grüße, 你好 🎵"
    assert asked_for == ["first"]


def test_a_reply_without_done_is_complete_by_its_finish_reason() -> None:
    assert read([FINISH.replace("data: [DONE]\n\n", "").encode()])[1].finish_reason == "stop"


@pytest.mark.parametrize("capture", ["vllm/sigterm.stream.raw", "vllm/enginekill.stream.raw"])
def test_done_after_an_abort_or_an_engine_death_proves_nothing(capture: str) -> None:
    data = body(capture)
    assert data.rstrip().endswith(b"[DONE]")
    with pytest.raises(errors.BrokenOff, match="broken off"):
        read([data])


def test_the_death_of_the_engine_is_told_in_the_words_of_the_server() -> None:
    with pytest.raises(errors.BrokenOff, match="EngineCore encountered an issue"):
        read([body("vllm/enginekill.stream.raw")])


def test_a_stream_that_just_ends_is_broken_off() -> None:
    with pytest.raises(errors.BrokenOff, match="without a finish reason"):
        read([UMLAUTS.encode()])


def test_done_alone_is_broken_off() -> None:
    with pytest.raises(errors.BrokenOff):
        read([b"data: [DONE]\n\n"])


def test_a_stream_with_nothing_in_it_is_an_empty_answer() -> None:
    with pytest.raises(errors.EmptyAnswer):
        read([body("llamacpp/err_two_users_stream.resp")])


def test_an_error_event_before_the_first_token_is_the_error_it_tells_of() -> None:
    event = b'data: {"error":{"message":"The model `x` does not exist.","code":404,"param":"model"}}\n\n'
    with pytest.raises(errors.ModelNotFound):
        read([event])


@pytest.mark.parametrize("data", [b"not json", b"[1]", b'"text"', b"null", b"[" * 5000])
def test_an_event_that_is_no_object_is_broken_off(data: bytes) -> None:
    with pytest.raises(errors.BrokenOff, match="not a JSON object"):
        read([b"data: " + data + b"\n\n"])


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices":[]}',
        b'{"choices":[7]}',
        b'{"choices":{"a":1}}',
        b'{"choices":[{"delta":null}]}',
        b'{"choices":[{"delta":{"content":null}}]}',
        b'{"choices":[{"delta":{"content":[]}}]}',
        b'{"choices":[{"finish_reason":7}],"usage":{"prompt_tokens":"many"}}',
        b"{}",
    ],
)
def test_an_odd_event_adds_no_text_and_does_not_end_the_reply(data: bytes) -> None:
    assert read([b"data: " + data + b"\n\n" + FINISH.encode()]) == ("", Finished("stop"))


@given(st.binary(max_size=300))
def test_whatever_the_bytes_the_only_errors_are_the_known_ones(data: bytes) -> None:
    with contextlib.suppress(errors.LlmError, UnicodeDecodeError):
        read([data])


def test_the_role_is_no_token_but_half_a_character_is_one() -> None:
    parser = ReplyParser(AT)
    parser.feed('{"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}')
    assert not parser.has_token
    parser.feed('{"choices":[{"delta":{"content":""},"finish_reason":null}]}')
    assert parser.has_token
