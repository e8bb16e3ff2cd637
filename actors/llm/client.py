"""A streaming client of the OpenAI chat API that cannot hang: every wait has a deadline, and any thread may cancel it.

One thread per reply reads from the socket; the caller waits on a queue. So deadlines and cancelling hold whatever the
server does: before the headers, between two bytes, behind a name that does not resolve. (A socket's read timeout alone
would let a server that sends a comment line every second keep us for ever.)
"""

import contextlib
import json
import math
import queue
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import requests
import sseclient
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool

from actors.llm import answers, errors
from actors.llm.prompt import Message
from actors.llm.stream import Finished, ReplyParser
from bus.clock import Clock, SystemClock

READ_SIZE_BYTES = 64 * 1024
MAX_ERROR_BODY_BYTES = 64 * 1024
MAX_REPLY_BYTES = 512 * 1024  # on the wire: 200 to 350 bytes per token; its text fits into one message of the bus
AFTER_FINISH_S = 2.0  # how long to wait for usage and [DONE] once the reply is complete
NS_PER_S = 1_000_000_000
DEFAULT_API_KEY_ENV = "EARSHOT_LLM_API_KEY"

OnSocket = Callable[[socket.socket], None]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait for a server, in seconds."""

    connect_s: float = 3.0
    first_token_s: float = 30.0  # from sending the request; headers prove nothing, vLLM sends them while the request is queued
    stall_s: float = 20.0  # between two tokens
    total_s: float = 120.0  # from sending the request to the end of the reply
    answer_s: float = 5.0  # for an answer that is no reply: the list of models, a count of tokens, the text of an error


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as GET /models lists it."""

    name: str
    context_tokens: int | None  # None where the server does not tell
    owner: str = ""  # which kind of server it is, where it tells


@dataclass(frozen=True, slots=True)
class ChatClient:
    """Speaks to one server. Keeps no connection between replies: servers close idle ones, a new one costs nothing much."""

    base_url: str  # with /v1
    api_key: str = field(default="", repr=False)  # never shown, not even in a traceback
    api_key_env: str = DEFAULT_API_KEY_ENV  # only named in errors
    timeouts: Timeouts = Timeouts()
    options: Mapping[str, object] = field(default_factory=dict)  # merged into each request: temperature, chat_template_kwargs, …
    clock: Clock = field(default_factory=SystemClock)

    def endpoint(self, model: str = "") -> answers.Endpoint:
        """The server and model, for the texts of errors."""
        return answers.Endpoint(self.base_url.rstrip("/"), model, self.api_key_env)

    def models(self) -> tuple[ServedModel, ...]:
        """The models that the server serves now. Raises LlmError; ServerUnavailable while nobody answers."""
        at = self.endpoint()
        value = self.get_json(f"{at.base_url}/models", at)
        entries = value.get("data") if isinstance(value, dict) else None
        if not isinstance(entries, list):
            raise errors.NotAChatServer(f"{at.base_url}/models lists no models: set llm.url to an OpenAI-compatible server")
        named = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
        return tuple(ServedModel(entry["id"], _whole_number(entry.get("max_model_len")), str(entry.get("owned_by"))) for entry in named)

    def reply(self, model: str, messages: list[Message], max_tokens: int, first_token_s: float | None = None) -> "ChatReply":
        """Send the messages; return the reply, to be iterated for its text as it comes.

        A last message of the assistant is the beginning of the reply, and what follows on it is returned. vLLM can do that.
        `first_token_s` is a shorter time than usual to wait for the first token.
        """
        at = self.endpoint(model)
        timeouts = replace(
            self.timeouts, first_token_s=min(self.timeouts.first_token_s, math.inf if first_token_s is None else first_token_s)
        )
        begun = messages[-1]["role"] == "assistant"
        body = {
            **self.options,
            **({"continue_final_message": True, "add_generation_prompt": False} if begun else {}),
            "model": model,
            "messages": messages,
            "max_tokens": max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        said = [message["content"] for message in messages]
        wait_s = max(timeouts.first_token_s, timeouts.stall_s)
        return ChatReply(
            lambda on_socket: self._send(f"{at.base_url}/chat/completions", body, wait_s, on_socket),
            at,
            said,
            timeouts,
            self.clock,
        )

    def get_json(self, url: str, at: answers.Endpoint, body: object = None, said: Iterable[str] = ()) -> Any:
        """GET, or POST where there is a body, and decode the answer. Raises LlmError."""
        deadline_ns = self.clock.monotonic_ns() + round(self.timeouts.answer_s * NS_PER_S)
        try:
            with self._send(url, body, self.timeouts.answer_s) as response:
                text = read_text(response, lambda: self.clock.monotonic_ns() < deadline_ns)
        except requests.ReadTimeout:
            raise errors.ServerUnavailable(f"the LLM server at {at.base_url} does not answer: it may be starting up, or hung") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise transport_error(error, at) from None
        if response.status_code != 200 or not _says_json(response):
            raise answers.error_from_answer(response.status_code, content_type(response), text, at, tuple(said))
        try:
            return json.loads(text)
        except ValueError:
            raise errors.NotAChatServer(f"{url} answers with broken JSON: is it an OpenAI-compatible server?") from None

    @contextlib.contextmanager
    def _send(self, url: str, body: object, wait_s: float, on_socket: OnSocket | None = None) -> Iterator[requests.Response]:
        """POST `body`, or GET where there is none, on a connection that is closed afterwards; yield the response, its body unread.

        `on_socket` gets the connection's socket before anything is sent.
        """
        headers = {"Accept-Encoding": "identity", "Connection": "close"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        with requests.Session() as session:
            if on_socket is not None:
                for scheme in ("http://", "https://"):
                    session.mount(scheme, _Line(on_socket))
            # Proxies and credentials of the environment (HTTP_PROXY, .netrc) would send what was said to a host that the
            # configuration does not name; so would following a redirect.
            session.trust_env = False
            with session.request(
                "GET" if body is None else "POST",
                url,
                json=body,
                headers=headers,
                stream=True,
                allow_redirects=False,
                timeout=(self.timeouts.connect_s, wait_s),
            ) as response:
                yield response


class _Line(HTTPAdapter):
    """Tells the socket of a connection as soon as there is one: `requests` itself gives nothing to close before the answer's headers,
    and there are servers that send none before the first token."""

    def __init__(self, on_socket: OnSocket) -> None:
        self._on_socket = on_socket
        self._pool: HTTPConnectionPool | None = None
        super().__init__()

    def close(self) -> None:
        """End the connection. urllib3 leaves that to the garbage collector, which never comes by: the pool, which it keeps, has the
        connection in it, and that knows its pool by the class below."""
        super().close()
        if self._pool is not None:
            self._pool.close()

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> HTTPConnectionPool:
        pool, on_socket = super().get_connection_with_tls_context(request, verify, proxies, cert), self._on_socket
        assert isinstance(pool, HTTPConnectionPool)

        class Connection(pool.ConnectionCls):  # type: ignore[name-defined, misc]  # which it is, http or https, is known here alone
            def connect(self) -> None:
                super().connect()
                on_socket(self.sock)

        pool.ConnectionCls = Connection
        self._pool = pool
        return pool


class ChatReply(Iterator[str]):
    """One reply on its way. Iterating yields text as it comes, never ""; it ends only when the reply is complete.

    Iterating raises LlmError: one of its classes per kind of failure. The text before that is then no answer.
    """

    def __init__(
        self,
        send: Callable[[OnSocket], contextlib.AbstractContextManager[requests.Response]],
        at: answers.Endpoint,
        said: list[str],
        timeouts: Timeouts,
        clock: Clock,
    ) -> None:
        self._send = send
        self._at = at
        self._said = said
        self._timeouts = timeouts
        self._clock = clock
        self._parser = ReplyParser(at, said)
        self._inbox: queue.SimpleQueue[str | Exception | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._socket: socket.socket | None = None
        self._response: requests.Response | None = None
        self._started_ns: int | None = None
        self._last_token_ns = 0
        self.finished: Finished | None = None

    def cancel(self) -> None:
        """Give the reply up, from any thread: the one that iterates gets Cancelled at once, the server stops generating."""
        self._inbox.put(errors.Cancelled("the reply was cancelled"))
        self._abort()

    def __next__(self) -> str:
        if self.finished:
            raise StopIteration
        if self._started_ns is None:
            self._started_ns = self._last_token_ns = self._clock.monotonic_ns()
            threading.Thread(target=self._read, name="llm-reply", daemon=True).start()
        try:
            while not self._parser.is_over:
                data = self._next_event()
                if data is None:
                    break
                text = self._parser.feed(data)
                if self._parser.has_token:
                    self._last_token_ns = self._clock.monotonic_ns()
                if text:
                    return text
            self.finished = self._parser.finish()
        except BaseException:
            self._abort()
            raise
        self._abort()
        raise StopIteration

    def _next_event(self) -> str | None:
        """The data of the next event, None at the end of the stream. Raises the thread's error, or the missed deadline."""
        deadline_ns, missed = self._deadline()
        if self._stopping.is_set():
            raise errors.Cancelled("the reply was cancelled")
        try:
            item = self._inbox.get(timeout=max(0.0, (deadline_ns - self._clock.monotonic_ns()) / NS_PER_S))
        except queue.Empty:
            if missed is None:
                return None
            raise missed from None
        if isinstance(item, Exception):
            if self._parser.has_finish and not isinstance(item, errors.Cancelled):
                return None  # the reply is whole; how the connection ends does not matter
            raise item
        return item

    def _deadline(self) -> tuple[int, errors.LlmError | None]:
        """When waiting ends, monotonic ns, and the error that this is; None where the reply is complete already."""
        started_ns = self._started_ns or 0
        server, limits = f"the LLM server at {self._at.base_url}", self._timeouts
        if self._parser.has_finish:
            return self._last_token_ns + round(AFTER_FINISH_S * NS_PER_S), None
        total = errors.ReplyTimeout(
            f"{server} took over {limits.total_s:g} s for a reply: set a smaller max_tokens or a longer llm timeout"
        )
        token: errors.LlmError
        if self._parser.has_token:
            token_ns = self._last_token_ns + round(limits.stall_s * NS_PER_S)
            token = self._parser.broken_off(f"nothing came for {limits.stall_s:g} s")
        else:
            token_ns = started_ns + round(limits.first_token_s * NS_PER_S)
            token = errors.FirstTokenTimeout(f"{server} sent no token within {limits.first_token_s:g} s: it may be overloaded or hung")
        return min((started_ns + round(limits.total_s * NS_PER_S), total), (token_ns, token), key=lambda end: end[0])

    def _abort(self) -> None:
        """Stop the reading thread, and close the connection, upon which the server stops generating."""
        self._stopping.set()
        if self._socket is not None:
            with contextlib.suppress(OSError, ValueError):  # it was over already
                self._socket.shutdown(socket.SHUT_RDWR)  # ends a blocked read at once, before the headers too

    def _on_socket(self, connected: socket.socket) -> None:
        self._socket = connected
        if self._stopping.is_set():
            self._abort()

    def _read(self) -> None:
        """The reading thread: events, then None; or the error in their place."""
        try:
            with self._send(self._on_socket) as response:
                self._response = response
                for event in sseclient.SSEClient(self._body(response)).events():
                    self._inbox.put(event.data)
            self._inbox.put(None)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            self._inbox.put(self._transport_error(error))
        except UnicodeDecodeError:
            self._inbox.put(self._parser.broken_off("the stream is not UTF-8"))
        except Exception as error:  # the iterating thread raises it: nothing may end this thread unseen
            self._inbox.put(error)

    def _body(self, response: requests.Response) -> Iterator[bytes]:
        """Bytes as they arrive. `iter_content` would hold back the whole of a reply that is not sent in HTTP chunks."""
        kind = content_type(response)
        if response.status_code != 200 or kind != "text/event-stream":
            text = read_text(response, lambda: not self._stopping.is_set())
            raise answers.error_from_answer(response.status_code, kind, text, self._at, self._said)
        size_bytes = 0
        while not self._stopping.is_set() and (data := response.raw.read1(READ_SIZE_BYTES)):
            size_bytes += len(data)
            if size_bytes > MAX_REPLY_BYTES:
                raise self._parser.broken_off(f"it sent more than {MAX_REPLY_BYTES // 1024} KiB")
            yield data

    def _transport_error(self, error: Exception) -> errors.LlmError:
        if self._response is not None:
            return self._parser.broken_off("the connection ended in the middle")
        if isinstance(error, requests.ReadTimeout):
            return errors.FirstTokenTimeout(f"the LLM server at {self._at.base_url} took the request and answered nothing: it may be hung")
        return transport_error(error, self._at)


def transport_error(error: Exception, at: answers.Endpoint) -> errors.LlmError:
    """The error for a request that brought no answer."""
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema)):
        return errors.NotAChatServer(f"llm.url {at.base_url!r} is not an address: write it like http://localhost:8000/v1")
    if isinstance(error, requests.exceptions.SSLError):
        return errors.NotAChatServer(f"no TLS connection with {at.base_url} ({_reason(error)}): check its certificate, or use http://")
    return errors.ServerUnavailable(f"no LLM server answers at {at.base_url} ({_reason(error)}): start it, or set llm.url")


def read_text(response: requests.Response, may_go_on: Callable[[], bool]) -> str:
    """The body of an answer that is no stream, cut where it is too long to be one or comes too slowly."""
    data = bytearray()
    while may_go_on() and len(data) < MAX_ERROR_BODY_BYTES and (part := response.raw.read1(READ_SIZE_BYTES)):
        data += part
    return bytes(data).decode("utf-8", "replace")


def content_type(response: requests.Response) -> str:
    """The media type without its parameters, lower case."""
    return response.headers.get("content-type", "").split(";")[0].strip().lower()


def _says_json(response: requests.Response) -> bool:
    return content_type(response) == "application/json"


def _reason(error: BaseException | None) -> str:
    """The operating system's words for what went wrong, dug out of the layers around them."""
    seen: list[Any] = [error]
    while seen:
        at = seen.pop()
        if isinstance(at, OSError) and at.strerror and not isinstance(at, requests.RequestException):
            return at.strerror.lower()
        if isinstance(at, BaseException):
            seen += [at.__cause__, at.__context__, getattr(at, "reason", None), *at.args]
    return "it hung up" if isinstance(error, requests.ConnectionError) else type(error).__name__


def _whole_number(value: object) -> int | None:
    return value if isinstance(value, int) else None
