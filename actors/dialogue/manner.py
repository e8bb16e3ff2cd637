"""How the assistant talks: the role in use, its own words, and the phrases that it knows, in the language that is spoken. Pure."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final, NamedTuple

from bus.errors import SetupError
from bus.settings import DialogueSettings
from bus.texts import Phrases, Texts

ENGLISH: Final = "en"


class Manner(NamedTuple):
    """See `bus.settings.DialogueSettings` for what is not told here."""

    role: str
    system: str
    """The role's prompt."""
    max_tokens: int
    """Cap of a reply's length."""
    texts: Texts = Texts()
    phrases: Phrases = Phrases()
    wake: tuple[str, ...] = ()
    follow_up_ms: float = 8000.0


def manner(settings: DialogueSettings, language: str) -> Manner:
    """The manner of the configured role in a language; English where that is not there. Raise SetupError when there is no such role."""
    role = settings.roles.get(settings.role)
    if role is None:
        raise SetupError(f"dialogue.role is {settings.role!r}, but there is no [dialogue.roles.{settings.role}]; {_known(settings)}")
    return Manner(
        role=settings.role,
        system=role.prompt,
        max_tokens=role.max_tokens,
        texts=settings.texts.get(language) or settings.texts.get(ENGLISH) or Texts(),
        phrases=phrases_of(settings, language),
        wake=settings.wake,
        follow_up_ms=1000 * settings.follow_up_s,
    )


def phrases_of(settings: DialogueSettings, language: str) -> Phrases:
    """The phrases of a language; those of English where they are not there."""
    return settings.phrases.get(language) or settings.phrases.get(ENGLISH) or Phrases()


def _known(settings: DialogueSettings) -> str:
    names = sorted(settings.roles)
    close = get_close_matches(settings.role, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names) or 'none'}"
