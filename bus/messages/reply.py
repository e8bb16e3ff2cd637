"""The answer as it comes. A reader shows only the newest attempt of a turn."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from bus.messages.base import Body


class ReplyStarted(Body, frozen=True, kw_only=True):
    """The request for an answer has been sent. What earlier attempts of this turn delivered is void."""

    topic: ClassVar[str] = "reply.started"
    attempt: int
    model: str


class PromptMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One message of a prompt."""

    role: str
    """`system`, `user` or `assistant`."""
    content: str


class PromptMade(Body, frozen=True, kw_only=True):
    """What the language model is asked, whole."""

    topic: ClassVar[str] = "prompt.made"
    words: ClassVar[frozenset[str]] = frozenset({"content"})
    attempt: int
    messages: list[PromptMessage]
    max_tokens: int


class ReplyDelta(Body, frozen=True, kw_only=True):
    """A piece of the answer."""

    topic: ClassVar[str] = "reply.delta"
    words: ClassVar[frozenset[str]] = frozenset({"text"})
    attempt: int
    index: int
    """Counts from 0 within the attempt."""
    text: str


class ReplyFinished(Body, frozen=True, kw_only=True):
    """The answer is complete: `text` is all of it."""

    topic: ClassVar[str] = "reply.finished"
    words: ClassVar[frozenset[str]] = frozenset({"text"})
    attempt: int
    text: str
    finish_reason: str
    """`stop`, `length`, or `local` for an answer that needed no model."""


class ReplyWaiting(Body, frozen=True, kw_only=True):
    """No answer yet, or nothing more of one that had begun, and why: told once for each wait."""

    topic: ClassVar[str] = "reply.waiting"
    reason: str
