"""What the events of a streamed reply mean. Pure: text of events in, text of the reply out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from actors.llm import answers, errors

COMPLETE = frozenset({"stop", "length"})
DONE = "[DONE]"


@dataclass(frozen=True, slots=True)
class Finished:
    """How a complete reply ended. Token counts are the server's own, None where it tells none."""

    finish_reason: str  # "stop", or "length": cut at max_tokens
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class ReplyParser:
    """Follows one reply from its first event to its end.

    A reply is complete only with a `finish_reason` of stop or length and no error event. `[DONE]` proves nothing: vLLM
    sends it after an abort and after the death of its engine too, and other servers send none after a whole reply.
    """

    def __init__(self, at: answers.Endpoint, said: Sequence[str] = ()) -> None:
        self._at = at
        self._said = said
        self._finish_reason: str | None = None
        self._usage: dict[str, Any] = {}
        self.has_events = False
        self.has_token = False
        self.is_over = False  # nothing of interest can follow
        self.has_finish = False  # only usage and [DONE] can follow

    def feed(self, data: str) -> str:
        """Take the data of one event; return the text that it adds, often "" (role, half a character, usage).

        Raises BrokenOff for an error event in mid-reply and for an event that is no JSON object, and for an error event
        before the first token the error that it tells of.
        """
        self.has_events = True
        if data.strip() == DONE:
            self.is_over = True
            return ""
        chunk = self._decode(data)
        complaint = answers.complaint_of(chunk)
        if complaint:
            raise self._error_event(complaint)
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        choices = chunk.get("choices")
        return self._choice(choices[0]) if isinstance(choices, list) and choices and isinstance(choices[0], dict) else ""

    def finish(self) -> Finished:
        """The stream has ended: how. Raises EmptyAnswer or BrokenOff where it did not end well."""
        if not self.has_events:
            raise errors.EmptyAnswer(f"the LLM server at {self._at.base_url} answered with nothing at all: its log may tell why")
        if self._finish_reason not in COMPLETE:
            raise self.broken_off(
                f"finish reason {self._finish_reason}" if self._finish_reason else "the stream ended without a finish reason"
            )
        return Finished(str(self._finish_reason), self._count("prompt_tokens"), self._count("completion_tokens"))

    def broken_off(self, why: str) -> errors.BrokenOff:
        """The error for a reply that stopped in the middle."""
        return errors.BrokenOff(f"reply broken off by the LLM server at {self._at.base_url} ({why}): ask again")

    def _decode(self, data: str) -> dict[str, Any]:
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            chunk = None
        if not isinstance(chunk, dict):
            raise self.broken_off("an event of the stream is not a JSON object")
        return chunk

    def _error_event(self, complaint: answers.Complaint) -> errors.LlmError:
        if self.has_token:
            return self.broken_off(f"it reports an error{answers.quotable(complaint.message, self._said)}")
        return answers.error_from_complaint(complaint.code or 500, complaint, self._at, self._said)

    def _choice(self, choice: dict[str, Any]) -> str:
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self._finish_reason = reason
            self.has_finish = True
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return ""
        content = delta.get("content")
        text = content if isinstance(content, str) else ""
        # The first chunk holds the role and no token. A later one without text is a token too: half a character, a thought.
        self.has_token = self.has_token or bool(text) or "role" not in delta
        return text

    def _count(self, name: str) -> int | None:
        value = self._usage.get(name)
        return value if isinstance(value, int) else None
