"""What vLLM says on the wire, word for word where a client looks: chunks, errors, template refusals. Pure."""

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

CONTEXT_TOKENS = 4096
TOKENS_PER_MESSAGE = 4  # role and separators
ALTERNATE = "After the optional system message, conversation roles must alternate user/assistant/user/assistant/..."
NO_SYSTEM = "System role not supported"

Template = Literal["any", "alternating", "no-system"]
Fault = Literal["", "error-500", "html", "empty", "hang", "hang-in-reply", "break-off", "abort", "engine-death"]


class ChatMessage(msgspec.Struct, frozen=True):
    """One message of a request."""

    role: Literal["system", "user", "assistant"]
    content: str


class StreamOptions(msgspec.Struct, frozen=True):
    """What the client wants beside the text."""

    include_usage: bool = False


class Manners(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the server behaves. Sent to /rehearsal it holds from then on, in a request's field `rehearsal` for that request."""

    first_token_delay_ms: int = 0
    token_delay_ms: int = 8
    fault: Fault = ""
    times: int = 0
    """The fault happens this many times and then no more; 0: every time."""
    template: Template = "any"
    continues: bool = False
    """Goes on with a reply that it is given the beginning of, as vLLM does, and calls itself vLLM."""


class ChatRequest(msgspec.Struct, frozen=True):
    """The part of a chat request that is looked at."""

    model: str
    messages: list[ChatMessage]
    max_tokens: int | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    continue_final_message: bool = False
    rehearsal: dict[str, Any] = {}


class TokenizeRequest(msgspec.Struct, frozen=True):
    """A request to count tokens."""

    model: str = ""
    messages: list[ChatMessage] = []
    prompt: str = ""


class Refusal(Exception):
    """An answer other than a reply."""

    def __init__(self, status: int, message: str, kind: str = "BadRequestError", param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}


def split_tokens(text: str) -> list[str]:
    """The text in pieces as a model might make them: a word with the space before it."""
    return re.findall(r"\s*\S+", text)


def count_tokens(messages: Sequence[ChatMessage]) -> int:
    """Length of a prompt in this server's own tokens."""
    return sum(TOKENS_PER_MESSAGE + len(split_tokens(message.content)) for message in messages)


def token_ids(texts: Sequence[str], fill: int) -> list[int]:
    """A number for each token of `texts`, with `fill` zeros for the separators."""
    return [0] * fill + [zlib.crc32(token.encode()) % 32_000 for text in texts for token in split_tokens(text)]


def check_request(request: ChatRequest, model: str, template: Template) -> None:
    """Raises Refusal for what vLLM refuses: a wrong model, a template that takes no such roles, a prompt that is too long."""
    if request.model != model:
        message = f"The model `{request.model}` does not exist. Valid aliases: {model}."
        raise Refusal(404, message, "NotFoundError", "model")
    if not request.messages:
        raise Refusal(400, "Cannot apply chat template to an empty conversation. Provide at least one message.")
    if request.max_tokens is not None and request.max_tokens < 1:
        raise Refusal(400, f"max_tokens must be at least 1, got {request.max_tokens}. (parameter=max_tokens)", param="max_tokens")
    check_template([message.role for message in request.messages], template)
    count = count_tokens(request.messages)
    if count >= CONTEXT_TOKENS:
        limit = f"This model's maximum context length is {CONTEXT_TOKENS} tokens."
        raise Refusal(400, f"{limit} However, your request has {count} input tokens.", param="input_tokens")


def check_template(roles: list[str], template: Template) -> None:
    """Raises Refusal where a strict chat template would."""
    if template == "any":
        return
    has_system = roles[:1] == ["system"]
    if has_system and template == "no-system":
        raise Refusal(400, NO_SYSTEM)
    if any(role != ("user", "assistant")[index % 2] for index, role in enumerate(roles[has_system:])):
        raise Refusal(400, ALTERNATE)


def chunk(reply_id: str, model: str, created: int, delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
    """One event of a streamed reply."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {"id": reply_id, "object": "chat.completion.chunk", "created": created, "model": model, "choices": [choice]}


def whole_reply(reply_id: str, model: str, created: int, *, text: str, finish_reason: str, usage: dict[str, int]) -> dict[str, Any]:
    """The answer to a request without streaming."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "logprobs": None, "finish_reason": finish_reason}
    answer = {"id": reply_id, "object": "chat.completion", "created": created, "model": model, "choices": [choice]}
    return {**answer, "usage": usage}


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Token counts as vLLM words them."""
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
    }


def reply_events(request: ChatRequest, tokens: Sequence[str], is_cut: bool, reply_id: str, created: int) -> Iterator[bytes]:
    """The whole stream of a reply: role, tokens, finish, usage where it was asked for, [DONE]."""

    def event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        return sse(chunk(reply_id, request.model, created, delta, finish_reason))

    yield event({"role": "assistant", "content": ""})
    for token in tokens:
        yield event({"content": token})
    yield event({"content": ""}, "length" if is_cut else "stop")
    if request.stream_options and request.stream_options.include_usage:
        closing = chunk(reply_id, request.model, created, {})
        yield sse({**closing, "choices": [], "usage": usage(count_tokens(request.messages), len(tokens))})
    yield sse("[DONE]")


def abort_events(request: ChatRequest, fault: Fault, reply_id: str, created: int) -> list[bytes]:
    """How a stream goes on after it broke: vLLM stopped by SIGTERM, or the death of its engine. [DONE] follows both."""
    if fault == "abort":
        return [sse(chunk(reply_id, request.model, created, {"content": ""}, "abort")), sse("[DONE]")]
    message = "EngineCore encountered an issue. See stack trace (above) for the root cause."
    error = {"message": message, "type": "InternalServerError", "param": None, "code": 500}
    return [sse({"error": error}), sse("[DONE]")]


def sse(value: dict[str, Any] | str) -> bytes:
    """One server-sent event."""
    return b"data: " + (value.encode() if isinstance(value, str) else msgspec.json.encode(value)) + b"\n\n"
