"""One reply to one conversation, whatever the server is like: which model it serves, what its template takes."""

import threading
from collections.abc import Iterator
from typing import Literal

from actors.llm import answers, errors
from actors.llm.client import ChatClient, ChatReply
from actors.llm.prompt import Message, fold_system
from actors.llm.stream import Finished

SystemRole = Literal["auto", "system", "fold"]
CONTINUES = "vllm"
"""The kind of server that goes on with a reply that it is given the beginning of. Others take that for one more message, or
ignore it, and say so in no way."""


class Engine:
    """Remembers, while it lives, the model that the server serves and the models that need folded messages."""

    def __init__(self, client: ChatClient, model: str = "", system_role: SystemRole = "auto") -> None:
        """`system_role`: send the role as a system message, or folded, or find out what the model's template takes."""
        self.client = client
        self._system_role = system_role
        self._wanted = model
        self._found: str | None = None
        self._folds: set[str] = set()
        self.continues = False
        """Whether the server, as far as it was asked for its models, can go on with a reply that broke off."""

    def model(self) -> str:
        """The model to use: the one in the settings, or with `""` the only one served. Raises LlmError."""
        if self._wanted:
            return self._wanted
        if self._found is None:
            self._found = self._only_model()
        return self._found

    def check(self) -> str:
        """Ask the server whether it is there and has our model; return the model. Raises LlmError."""
        served = self._served()
        self._found = None
        model = self._wanted or self._only_of(served)
        if model not in served:
            raise errors.ModelNotFound(answers.model_not_found_text(self.client.endpoint(model), served), served)
        return model

    def reply(self, messages: list[Message], max_tokens: int, *, begun: str = "", first_token_s: float | None = None) -> "Reply":
        """The reply to `messages`, not yet sent: iterate it.

        `begun`: what came of it before it broke off; what is missing is asked for, of a server that `continues`. `first_token_s`: a
        shorter time than usual to wait for the first token.
        """
        return Reply(self, messages, max_tokens, begun, first_token_s)

    def needs_folding(self, model: str) -> bool:
        """Whether to fold: this model's template refused the messages as they were and took them folded, or a setting."""
        return self._system_role == "fold" or model in self._folds

    def may_fold(self) -> bool:
        """Whether to try folded messages where others are refused."""
        return self._system_role != "system"

    def remember_folding(self, model: str) -> None:
        """From now on fold at once."""
        self._folds.add(model)

    def _only_model(self) -> str:
        return self._only_of(self._served())

    def _served(self) -> tuple[str, ...]:
        models = self.client.models()
        self.continues = any(model.owner == CONTINUES for model in models)
        return tuple(model.name for model in models)

    def _only_of(self, served: tuple[str, ...]) -> str:
        if len(served) == 1:
            return served[0]
        where = f"the LLM server at {self.client.base_url}"
        if not served:
            raise errors.ServerUnavailable(f"{where} serves no model yet: load one")
        raise errors.ModelNotFound(f"{where} serves {len(served)} models: set llm.model to one of {', '.join(served)}", served)


class Reply:
    """Iterate it once for the text as it comes. After the end `finished` tells how; `cancel` works from any thread."""

    def __init__(self, engine: Engine, messages: list[Message], max_tokens: int, begun: str, first_token_s: float | None) -> None:
        self._engine = engine
        self._messages = messages
        self._max_tokens = max_tokens
        self._begun = begun
        self._first_token_s = first_token_s
        self._lock = threading.Lock()
        self._current: ChatReply | None = None
        self._cancelled = False
        self.model = ""
        self.finished: Finished | None = None

    def cancel(self) -> None:
        """End the reply: the iterating thread gets Cancelled at once."""
        with self._lock:
            self._cancelled = True
            if self._current is not None:
                self._current.cancel()

    def __iter__(self) -> Iterator[str]:
        self.model = self._engine.model()
        folded = fold_system(self._messages)
        if self._engine.needs_folding(self.model) or folded == self._messages:
            yield from self._attempt(folded)
            return
        try:
            yield from self._attempt(self._messages)
        except (errors.TemplateRefusal, errors.EmptyAnswer):  # both come before the first token
            if not self._engine.may_fold():
                raise
            yield from self._attempt(folded)
            self._engine.remember_folding(self.model)

    def _attempt(self, messages: list[Message]) -> Iterator[str]:
        with self._lock:
            if self._cancelled:
                raise errors.Cancelled("the reply was cancelled")
            if self._begun:
                messages = [*messages, Message(role="assistant", content=self._begun)]
            self._current = reply = self._engine.client.reply(self.model, messages, self._max_tokens, self._first_token_s)
        yield from reply
        self.finished = reply.finished
