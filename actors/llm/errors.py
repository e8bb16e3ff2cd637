"""What can go wrong between us and an LLM server: one class per thing the user or the caller would do differently.

The text of each is one line for the user: what happened, where, what to do next. It never holds what was said.
"""

from typing import ClassVar

from bus.errors import EarshotError


class LlmError(EarshotError):
    """Base of all failures of the bridge. `retryable`: the same request may well succeed later."""

    retryable: ClassVar[bool] = False


class ServerUnavailable(LlmError):
    """Nobody answers at the address, or the server says that it is not ready yet: it may be starting up, so wait."""

    retryable = True


class ServerNotStarted(ServerUnavailable):
    """The launcher starts it together with us: for a moment that is nothing to tell."""


class ServerTrouble(LlmError):
    """The server answered with a fault of its own (5xx) or is overloaded (429)."""

    retryable = True


class FirstTokenTimeout(LlmError):
    """The request was taken, but no token came within the time allowed."""

    retryable = True


class BrokenOff(LlmError):
    """The reply began, or should have, and ended without a valid `finish_reason`: what came of it is not an answer."""

    retryable = True


class ReplyTimeout(LlmError):
    """The reply as a whole took too long. Not retryable: the next try would take as long."""


class EmptyAnswer(LlmError):
    """Status 200 and not one event. llama_cpp.server does this for every request it refuses in streaming mode, and it is
    what a server looks like that died just then."""

    retryable = True


class Unauthorized(LlmError):
    """The server wants an API key, or another one."""


class ModelNotFound(LlmError):
    """The server does not serve the model asked for. `served` are the names it has, as far as they are known."""

    def __init__(self, message: str, served: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.served = served


class PromptTooLong(LlmError):
    """The conversation does not fit into the context of the model."""


class TemplateRefusal(LlmError):
    """The model's chat template refuses the roles (no system role, not alternating). Folded messages may pass."""


class RequestRefused(LlmError):
    """The server refuses the request for a reason of its own, quoted in the text."""


class NotAChatServer(LlmError):
    """What answers at the address does not speak the OpenAI protocol: a web page, no JSON, a wrong path, a redirect."""


class Cancelled(LlmError):
    """The caller cancelled the reply."""
