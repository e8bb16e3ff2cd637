"""What the assistant says and understands by itself, without the language model: tables of the settings, one of each for a language."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class Texts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the assistant says by itself in one language. An empty text is not said."""

    reprompt: str = "Sorry, I didn't catch that."
    """When nothing was understood of what was said."""
    confirm: Annotated[str, Meta(pattern=r"^$|\{words\}", description="a text with {words} in it")] = "Did you say: {words}?"
    """When the words are doubtful; `{words}` stands for them."""
    dropped: str = "All right, never mind."
    """When they were the wrong ones."""
    acknowledge: str = "Yes?"
    """When the wake phrase was said and nothing after it."""
    nothing_said: str = "I haven't said anything yet."
    """When there is no answer to say again."""
    silence: str = "Is there anything else I can do for you?"
    """When nobody has said anything for `silence_prompt_s`."""
    waiting: str = "One moment, please. The language model doesn't answer yet."
    """Aloud, when an answer has to be waited for (`llm.patience_s`, or its server is not there) and nothing of it was said yet."""
    no_model: str = "Sorry, the language model doesn't answer just now. Please ask me again later."
    """When a turn was given up because of the language model."""
    apology: str = "Sorry, something went wrong. Please say that again."
    """When a turn could not be answered for any other reason."""


class Phrases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is understood without the language model in one language. A phrase counts when it is all that was said; case and
    punctuation do not."""

    stop: tuple[str, ...] = (
        "stop",
        "stop it",
        "stop please",
        "wait",
        "hold on",
        "be quiet",
        "cancel",
        "cancel that",
        "never mind",
        "nevermind",
    )
    repeat: tuple[str, ...] = (
        "say that again",
        "say it again",
        "repeat that",
        "repeat it",
        "please say that again",
        "can you say that again",
        "can you repeat that",
    )
    yes: tuple[str, ...] = ("yes", "yes please", "yes i did", "yeah", "yep", "right", "that's right", "correct", "exactly")
    no: tuple[str, ...] = ("no", "no i didn't", "nope", "no thanks", "no thank you", "wrong", "that's wrong", "not that")
