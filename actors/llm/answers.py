"""From what a server answers instead of a reply to one typed error. Pure.

Servers wrap errors in three ways: `{"error": {"message", "type", "param", "code"}}`, `{"error": "Unauthorized"}` and
`{"detail": …}`; and proxies answer with a web page. Captured answers of real servers are the tests of this file.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from actors.llm import errors

MAX_QUOTE_CHARS = 200

_TEMPLATE_WORDS = re.compile(r"\broles?\b|alternat|chat template|jinja", re.IGNORECASE)
_TOO_LONG_WORDS = re.compile(
    r"context (length|size|window)|maximum model length|(prompt|input) (is )?too (long|large)|must be at least 1, got", re.IGNORECASE
)
_SERVED_NAMES = re.compile(r"Valid aliases: (.+?)\.?$")
# Validators quote the offending input, which is the conversation: nothing from here on is repeated.
_QUOTED_INPUT = re.compile(r"[\[,{(]?\s*['\"]?input(_value)?['\"]?\s*[=:].*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a request went, for the texts of errors."""

    base_url: str
    model: str
    api_key_env: str  # name of the environment variable that holds the API key


@dataclass(frozen=True, slots=True)
class Complaint:
    """An error as the server worded it."""

    message: str = ""
    param: str | None = None
    kind: str = ""
    code: int | None = None
    is_chat_api: bool = True  # False: worded by a web framework or a proxy, which never saw our request


def parse_complaint(body: str) -> Complaint:
    """Read any of the three envelopes; an empty Complaint where there is none."""
    try:
        value = json.loads(body)
    except ValueError:
        return Complaint(is_chat_api=False)
    return complaint_of(value) or Complaint(is_chat_api=False)


def complaint_of(value: Any) -> Complaint | None:
    """The error in a decoded answer or event, or None where it holds none."""
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if isinstance(error, dict):
        code = error.get("code")
        return Complaint(
            message=str(error.get("message") or ""),
            param=error.get("param") if isinstance(error.get("param"), str) else None,
            kind=str(error.get("type") or ""),
            code=code if isinstance(code, int) else None,
        )
    if error:
        return Complaint(message=str(error))
    if "detail" in value:
        return Complaint(message=_detail_text(value["detail"]), is_chat_api=isinstance(value["detail"], list))
    return None


def error_from_answer(status: int, content_type: str, body: str, at: Endpoint, said: Sequence[str] = ()) -> errors.LlmError:
    """The error that an answer other than an event stream stands for. `said`: texts that no error may repeat."""
    if 300 <= status < 400:
        return errors.NotAChatServer(f"the LLM server at {at.base_url} redirects elsewhere: set llm.url to its new address")
    if status < 300 and not body:  # it died while it sent its headers, or before the body
        return errors.BrokenOff(f"the LLM server at {at.base_url} ended the connection before its reply: ask again")
    complaint = parse_complaint(body)
    if status < 300 and not complaint.message:
        what = "a web page" if "html" in content_type else f"{content_type or 'something'} that is no event stream"
        return errors.NotAChatServer(f"{at.base_url} answers with {what}: set llm.url to an OpenAI-compatible server")
    return error_from_complaint(complaint.code or 500 if status < 300 else status, complaint, at, said)


def error_from_complaint(status: int, complaint: Complaint, at: Endpoint, said: Sequence[str] = ()) -> errors.LlmError:
    """The error for an HTTP status (or the `code` of an error event) and the server's words."""
    quote = quotable(complaint.message, said)
    return (
        _address_error(status, complaint, at)
        or _prompt_error(status, complaint, at, quote)
        or _server_error(status, at, quote)
        or errors.RequestRefused(f"the LLM server at {at.base_url} refuses the request ({status}{quote}): check the llm settings")
    )


def _address_error(status: int, complaint: Complaint, at: Endpoint) -> errors.LlmError | None:
    """Errors of address, key and model name."""
    if status in (401, 403):
        return errors.Unauthorized(
            f"the LLM server at {at.base_url} refuses the API key ({status}): put the right one into ${at.api_key_env}"
        )
    if status == 404 and (complaint.param == "model" or "model" in complaint.message.lower()):
        names = _SERVED_NAMES.search(complaint.message)
        served = tuple(name.strip() for name in names[1].split(",")) if names else ()
        return errors.ModelNotFound(model_not_found_text(at, served), served)
    if status in (404, 405) and not complaint.is_chat_api:
        return errors.NotAChatServer(f"there is no chat API at {at.base_url} ({status}): llm.url usually ends in /v1")
    return None


def _prompt_error(status: int, complaint: Complaint, at: Endpoint, quote: str) -> errors.LlmError | None:
    """Errors of the messages themselves."""
    if status >= 400 and (complaint.param in ("input_tokens", "input_text") or _TOO_LONG_WORDS.search(complaint.message)):
        return errors.PromptTooLong(
            f"the conversation is too long for {at.model} at {at.base_url}: set fewer memory.rounds or a smaller memory.max_context_tokens"
        )
    if _is_template_refusal(status, complaint):
        return errors.TemplateRefusal(f"the chat template of {at.model} at {at.base_url} refuses the messages{quote}")
    return None


def _server_error(status: int, at: Endpoint, quote: str) -> errors.LlmError | None:
    """Errors that may pass by themselves."""
    server = f"the LLM server at {at.base_url}"
    if status in (502, 503, 504):
        return errors.ServerUnavailable(f"{server} is not ready ({status}{quote}): it may be starting up")
    if status == 429:
        return errors.ServerTrouble(f"{server} is overloaded (429{quote}): try again")
    if status >= 500:
        return errors.ServerTrouble(f"{server} failed ({status}{quote}): look at its log")
    return None


def quotable(message: str, said: Sequence[str] = ()) -> str:
    """`: message`, or "": one line, short, without validators' quotes of the input, without what was said."""
    text = _QUOTED_INPUT.sub("", message)
    for line in {line.strip() for words in said for line in words.splitlines()} - {""}:  # a folded role is a line of its own
        text = re.sub(rf"(?<!\w){re.escape(line)}(?!\w)", "[…]", text)
    text = " ".join(text.split())
    return f": {text[:MAX_QUOTE_CHARS]}" if text else ""


def _is_template_refusal(status: int, complaint: Complaint) -> bool:
    # vLLM sends 400 with the template's own sentence, which may be any; llama.cpp sends 500 with it. Taking another
    # 400 for one costs a single request with folded messages, which then brings the same 400.
    if status == 400 and complaint.is_chat_api and complaint.param is None and complaint.kind != "Bad Request":
        return True
    return status in (400, 422, 500) and bool(_TEMPLATE_WORDS.search(complaint.message))


def model_not_found_text(at: Endpoint, served: Sequence[str]) -> str:
    """The line for a model that is not served."""
    choice = f"it serves {', '.join(served)}; set llm.model to one of them" if served else "set llm.model to a model it serves"
    return f"the LLM server at {at.base_url} has no model {at.model!r}: {choice}"


def _detail_text(detail: Any) -> str:
    """FastAPI's `detail`: a sentence, or a list of faults; of these only place and message, for they quote the input."""
    if not isinstance(detail, list):
        return str(detail)
    faults = [fault for fault in detail if isinstance(fault, dict)]
    return "; ".join(f"{'.'.join(map(str, fault.get('loc', ())))}: {fault.get('msg', '')}" for fault in faults)
