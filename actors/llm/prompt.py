"""Messages for the chat API, from what the turn manager and memory know. Pure."""

from collections.abc import Iterable
from typing import TypedDict

ESTIMATED_BYTES_PER_TOKEN = 3
ESTIMATED_TOKENS_PER_MESSAGE = 4


class Message(TypedDict):
    """One message of the OpenAI chat API."""

    role: str  # "system", "user" or "assistant"
    content: str


def build_messages(system_prompt: str, rounds: Iterable[tuple[str, str]], user_text: str) -> list[Message]:
    """The whole conversation: the role first, then the (user, assistant) rounds oldest first, then what was said now.

    A round without an answer leaves two user texts in a row, which strict templates refuse: they become one message.
    The same rounds always give the same messages, so that the server's prefix cache serves from turn to turn.
    """
    messages = [Message(role="system", content=system_prompt)]
    for user, assistant in rounds:
        messages += [Message(role="user", content=user), Message(role="assistant", content=assistant)]
    messages.append(Message(role="user", content=user_text))
    return _join_same_roles(messages)


def fold_system(messages: Iterable[Message]) -> list[Message]:
    """The same conversation for strict chat templates: no system role, user first, user and assistant alternating.

    The role stands at the head of the first user message, on every turn: a template without a system role must not make
    the assistant forget after turn one who it is.
    """
    joined = _join_same_roles(messages)
    role = "\n\n".join(message["content"] for message in joined if message["role"] == "system")
    talk = _join_same_roles(message for message in joined if message["role"] != "system")
    if not role:
        return talk
    return _join_same_roles([Message(role="user", content=role), *talk])


def estimate_tokens(messages: Iterable[Message]) -> int:
    """`4 + ceil(UTF-8 bytes / 3)` for each message.

    English has about four bytes to a token, other languages and scripts two to three: for a budget, rather too many than
    too few.
    """
    return sum(ESTIMATED_TOKENS_PER_MESSAGE - (-len(message["content"].encode()) // ESTIMATED_BYTES_PER_TOKEN) for message in messages)


def _join_same_roles(messages: Iterable[Message]) -> list[Message]:
    """Join neighbours of the same role; drop what is empty."""
    joined: list[Message] = []
    for message in messages:
        content = message["content"].strip()
        if not content:
            continue
        if joined and joined[-1]["role"] == message["role"]:
            joined[-1] = Message(role=message["role"], content=f"{joined[-1]['content']}\n\n{content}")
        else:
            joined.append(Message(role=message["role"], content=content))
    return joined
