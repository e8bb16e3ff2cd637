"""The HTTP server around the rules. It streams as vLLM does, and misbehaves when it is told to."""

import contextlib
import logging
import select
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from actors.rehearsal_llm import rules, wire
from actors.rehearsal_llm.wire import ChatRequest, Manners, Refusal

MAX_REQUEST_BYTES = 4 * 1024 * 1024
IDLE_CONNECTION_S = 5.0  # as vLLM's
MS_PER_S = 1000

_log = logging.getLogger(__name__)


class Gone(Exception):
    """The client has closed the connection: nothing is left to be said."""


class Line(msgspec.Struct, frozen=True):
    """One line of a script: what is said, and what to answer."""

    user: str
    reply: str


class RehearsalServer(ThreadingHTTPServer):
    """An OpenAI-compatible server at 127.0.0.1. Port 0 takes a free one, told by `port`."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        port: int = 0,
        model: str = "rehearsal",
        manners: Manners | None = None,
        now: Callable[[], datetime] = datetime.now,
        script: Iterable[Line] = (),
    ) -> None:
        """With a `script` it answers as that says, each line once and in order, and by its rules where the script says nothing."""
        super().__init__(("127.0.0.1", port), _Handler)
        self.model = model
        self.now = now
        self._script = list(script)
        self.created_s = int(time.time())
        self._lock = threading.Lock()
        self._manners = manners or Manners()
        self.finished_count = 0
        self.cancelled_count = 0

    @property
    def port(self) -> int:
        """The TCP port that it listens on."""
        return int(self.server_address[1])

    @property
    def base_url(self) -> str:
        """What a client takes as `llm.url`."""
        return f"http://127.0.0.1:{self.port}/v1"

    @contextlib.contextmanager
    def running(self) -> Iterator["RehearsalServer"]:
        """Serve from a thread of its own, until the end of the block."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.25}, name="rehearsal-llm", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join()

    @property
    def manners(self) -> Manners:
        """How it behaves now."""
        return self._manners

    def behave(self, changes: dict[str, Any]) -> Manners:
        """Change the manners from now on. Raises msgspec.ValidationError for what it does not know."""
        with self._lock:
            self._manners = _changed(self._manners, changes)
            return self._manners

    def manners_for(self, request: ChatRequest) -> Manners:
        """The manners for one request; counts down a fault that is to happen some times only."""
        with self._lock:
            now = _changed(self._manners, request.rehearsal)
            if self._manners.fault and self._manners.times and not request.rehearsal:
                left = self._manners.times - 1
                self._manners = msgspec.structs.replace(self._manners, times=left, fault=self._manners.fault if left else "")
            return now

    def answer(self, messages: Sequence[dict[str, str]]) -> str:
        """The reply to a conversation."""
        with self._lock:
            for line in self._script:
                if line.user == messages[-1]["content"]:
                    self._script.remove(line)
                    return line.reply
        return rules.answer(messages, self.now())

    def count(self, finished: bool) -> None:
        """Keep the tally that /rehearsal tells."""
        with self._lock:
            self.finished_count += finished
            self.cancelled_count += not finished

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's
        """A client that hangs up is no error of ours; anything else ends its connection and is worth a stack trace."""
        if not isinstance(sys.exception(), OSError):
            _log.exception("a request ended its connection")


def _changed(manners: Manners, changes: dict[str, Any]) -> Manners:
    return msgspec.convert({**msgspec.structs.asdict(manners), **changes}, Manners)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: RehearsalServer
    protocol_version = "HTTP/1.1"
    server_version = "earshot-rehearsal"
    sys_version = ""
    timeout = IDLE_CONNECTION_S
    disable_nagle_algorithm = True  # each token is a small write of its own

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged: the actor's own log tells what matters."""

    def do_GET(self) -> None:
        """Models, health, and the state of the rehearsal."""
        server = self.server
        if self.path == "/v1/models":
            owner = "vllm" if server.manners.continues else "earshot"
            card = {"id": server.model, "object": "model", "created": server.created_s, "owned_by": owner, "root": server.model}
            self._send_json(200, {"object": "list", "data": [{**card, "parent": None, "max_model_len": wire.CONTEXT_TOKENS}]})
        elif self.path == "/health":
            self._send(200, "text/plain", b"")
        elif self.path == "/rehearsal":
            self._send_json(200, {"finished": server.finished_count, "cancelled": server.cancelled_count})
        else:
            self._send_json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        """Chat, tokenize, and the control of the rehearsal."""
        routes = {"/v1/chat/completions": self._chat, "/tokenize": self._tokenize, "/rehearsal": self._behave}
        body = self._read_body()
        route = routes.get(self.path)
        try:
            if route is None:
                self._send_json(404, {"detail": "Not Found"})
            else:
                route(body)
        except Refusal as refusal:
            self._send_json(refusal.status, refusal.body)
        except msgspec.MsgspecError as error:
            self._send_json(400, Refusal(400, str(error), "Bad Request", "body").body)
        except (Gone, OSError):
            self.close_connection = True

    def _behave(self, body: bytes) -> None:
        changes = msgspec.json.decode(body, type=dict[str, Any])
        self._send_json(200, msgspec.structs.asdict(self.server.behave(changes)))

    def _tokenize(self, body: bytes) -> None:
        request = msgspec.json.decode(body, type=wire.TokenizeRequest)
        wire.check_template([message.role for message in request.messages], self.server.manners.template)
        texts = [message.content for message in request.messages] or [request.prompt]
        tokens = wire.token_ids(texts, wire.TOKENS_PER_MESSAGE * len(request.messages))
        self._send_json(200, {"count": len(tokens), "max_model_len": wire.CONTEXT_TOKENS, "tokens": tokens, "token_strs": None})

    def _chat(self, body: bytes) -> None:
        request = msgspec.json.decode(body, type=ChatRequest)
        manners = self.server.manners_for(request)
        if self._fails_at_once(manners):
            return
        wire.check_request(request, self.server.model, manners.template)
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        begun = messages.pop()["content"] if manners.continues and request.continue_final_message else ""
        tokens = wire.split_tokens(self.server.answer(messages).removeprefix(begun))
        is_cut = request.max_tokens is not None and len(tokens) > request.max_tokens
        tokens = tokens[: request.max_tokens]
        try:
            if request.stream:
                self._stream(request, manners, tokens, is_cut)
            else:
                self._answer_whole(request, manners, tokens, is_cut)
        except (Gone, OSError):
            self.server.count(finished=False)
            raise
        self.server.count(finished=True)

    def _fails_at_once(self, manners: Manners) -> bool:
        """The faults that come before any reply."""
        match manners.fault:
            case "error-500":
                raise Refusal(500, "The rehearsal was told to fail.", "InternalServerError")
            case "html":
                self._send(200, "text/html; charset=utf-8", b"<!doctype html><title>Welcome</title><p>It works!")
            case "empty":
                self._begin_stream()
                self._end_stream()
            case "hang":
                self._wait(None)
            case _:
                return False
        return True

    def _answer_whole(self, request: ChatRequest, manners: Manners, tokens: list[str], is_cut: bool) -> None:
        self._wait(manners.first_token_delay_ms + manners.token_delay_ms * len(tokens))
        used = wire.usage(wire.count_tokens(request.messages), len(tokens))
        reason = "length" if is_cut else "stop"
        reply = wire.whole_reply(_new_id(), request.model, int(time.time()), text="".join(tokens), finish_reason=reason, usage=used)
        self._send_json(200, reply)

    def _stream(self, request: ChatRequest, manners: Manners, tokens: list[str], is_cut: bool) -> None:
        reply_id, created = _new_id(), int(time.time())
        events = wire.reply_events(request, tokens, is_cut, reply_id, created)
        breaks_after = 1 + (len(tokens) + 1) // 2 if manners.fault else None  # the role, and half of the tokens
        self._begin_stream()
        self._wait(manners.first_token_delay_ms)
        for index, event in enumerate(events):
            if index == breaks_after:
                self._break(request, manners, reply_id, created)
                return
            if 1 < index <= len(tokens):
                self._wait(manners.token_delay_ms)
            self._write_chunk(event)
        self._end_stream()

    def _break(self, request: ChatRequest, manners: Manners, reply_id: str, created: int) -> None:
        """The faults in the middle of a reply."""
        if manners.fault == "hang-in-reply":
            self._wait(None)
        if manners.fault in ("abort", "engine-death"):
            for event in wire.abort_events(request, manners.fault, reply_id, created):
                self._write_chunk(event)
            self._end_stream()
        self.close_connection = True

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def _write_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _end_stream(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def _send_json(self, status: int, value: Any) -> None:
        self._send(status, "application/json", msgspec.json.encode(value))

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-type", content_type)
        self.end_headers()
        self.wfile.write(body)

    def _read_body(self) -> bytes:
        size_bytes = int(self.headers.get("content-length") or 0)
        if size_bytes > MAX_REQUEST_BYTES:
            self.close_connection = True
            return b""
        return self.rfile.read(size_bytes)

    def _wait(self, delay_ms: int | None) -> None:
        """Wait, for ever with None. Raises Gone as soon as the client hangs up, as vLLM then stops generating."""
        readable, _, _ = select.select([self.connection], [], [], None if delay_ms is None else delay_ms / MS_PER_S)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise Gone


def _new_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex[:16]}"
