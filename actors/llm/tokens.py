"""How many tokens a conversation takes: the server's own count where it tells, else an estimate."""

import logging
from dataclasses import dataclass

from actors.llm import errors
from actors.llm.client import ChatClient
from actors.llm.prompt import Message, estimate_tokens, fold_system

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TokenCount:
    """How long a conversation is."""

    tokens: int
    exact: bool  # the server counted, with its template; else it is an estimate
    context_tokens: int | None = None  # the model's limit, where the server tells


class TokenCounter:
    """Counts through vLLM's `/tokenize`, which stands at the server's root, not under /v1. Remembers where there is none."""

    def __init__(self, client: ChatClient) -> None:
        self._client = client
        root = client.base_url.rstrip("/").removesuffix("/v1")
        self._url = f"{root}/tokenize"
        self._has_endpoint = True

    def count(self, model: str, messages: list[Message]) -> TokenCount:
        """Count `messages`. Never fails: whatever the server does, there is an estimate."""
        if self._has_endpoint:
            try:
                return self._ask(model, messages)
            except errors.TemplateRefusal:
                return self._count_folded(model, messages)
            except (errors.NotAChatServer, errors.RequestRefused) as error:
                self._has_endpoint = False
                _log.info("tokens are estimated: %s does not count them (%s)", self._url, type(error).__name__)
            except errors.LlmError:
                pass  # it may count the next time
        return TokenCount(estimate_tokens(messages), exact=False)

    def _count_folded(self, model: str, messages: list[Message]) -> TokenCount:
        try:
            return self._ask(model, fold_system(messages))
        except errors.LlmError:
            return TokenCount(estimate_tokens(messages), exact=False)

    def _ask(self, model: str, messages: list[Message]) -> TokenCount:
        at = self._client.endpoint(model)
        said = [message["content"] for message in messages]
        answer = self._client.get_json(self._url, at, body={"model": model, "messages": messages}, said=said)
        count = answer.get("count") if isinstance(answer, dict) else None
        if not isinstance(count, int):  # llama-server has a /tokenize too, which takes something else and counts nothing
            raise errors.NotAChatServer(f"{self._url} counts no messages")
        limit = answer.get("max_model_len")
        return TokenCount(count, exact=True, context_tokens=limit if isinstance(limit, int) else None)
