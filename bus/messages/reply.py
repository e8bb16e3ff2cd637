"""The answer as it comes. A reader shows only the newest attempt of a turn."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from bus.messages.base import Body, Count, Line, Name, Text
from bus.messages.turn import Milliseconds


class ReplyStarted(Body, frozen=True, kw_only=True):
    """The request for an answer has been sent. What earlier attempts of this turn delivered is void."""

    topic: ClassVar[str] = "reply.started"
    attempt: Count
    model: Line


class PromptMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One message of a prompt."""

    role: Name
    """`system`, `user` or `assistant`."""
    content: str


class PromptMade(Body, frozen=True, kw_only=True):
    """What the language model is asked, whole."""

    topic: ClassVar[str] = "prompt.made"
    words: ClassVar[frozenset[str]] = frozenset({"content"})
    attempt: Count
    messages: list[PromptMessage]
    max_tokens: Count


class ReplyDelta(Body, frozen=True, kw_only=True):
    """A piece of the answer."""

    topic: ClassVar[str] = "reply.delta"
    words: ClassVar[frozenset[str]] = frozenset({"text"})
    attempt: Count
    index: Count
    """Counts from 0 within the attempt."""
    text: Text


class ReplyFinished(Body, frozen=True, kw_only=True):
    """The answer is complete: `text` is all of it."""

    topic: ClassVar[str] = "reply.finished"
    words: ClassVar[frozenset[str]] = frozenset({"text"})
    attempt: Count
    text: Text
    finish_reason: Line
    """`stop`, `length`, or `local` for an answer that needed no model."""


class ReplyWaiting(Body, frozen=True, kw_only=True):
    """No answer yet, or nothing more of one that had begun, and why: told once for each wait."""

    topic: ClassVar[str] = "reply.waiting"
    reason: Line
    begun: bool = False
    """Some of the answer was told already."""


class ReplyDiscarded(Body, frozen=True, kw_only=True):
    """An answer was begun ahead of time and thrown away, unseen: its speaker went on. What it has cost."""

    topic: ClassVar[str] = "reply.discarded"
    tokens: Count
    """Pieces of it that had come; most servers send one for each token."""
    ms: Milliseconds
    """For so long the server was asked."""
