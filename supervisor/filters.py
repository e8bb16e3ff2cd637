"""Which events one wants to see. Pure."""

from __future__ import annotations

import difflib
import json
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import inspect as mi

from bus.errors import EarshotError
from bus.messages.actor import HOUSEKEEPING
from bus.messages.base import Envelope, Message, body_types

ANY_NAME: Final = "*"
GLOB: Final = re.compile(r"[*?\[]")
_CONDITION: Final = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.]*)\s*(==|=|!=|<=|>=|<|>|~)\s*(.*?)\s*", re.S)
_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "~": lambda value, part: str(part).casefold() in str(value).casefold(),
}


@dataclass(frozen=True)
class Condition:
    """One `--where`: a field, an operator, a value. An event without the field does not match."""

    field: str
    """Of the body or the envelope, dotted where it is nested: `duration_ms`, `record.state`."""
    symbol: str
    value: Any
    text: str
    """The value as it was written: some text consists of digits."""

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read `duration_ms > 500`, `state == "failed"` (quotes may be left out) or `reason ~ timeout` (contains).

        Raise EarshotError when it is none of these, or no event has the field.
        """
        match = _CONDITION.fullmatch(text)
        if match is None or not match[3]:
            raise EarshotError(f"--where {text!r}: write FIELD OPERATOR VALUE, with one of {' '.join(_OPERATORS)}: 'audio_ms > 500'")
        field, symbol, value = match.groups()
        if not _is_known(field):
            close = difflib.get_close_matches(field, known_fields(), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "; `supervisor topic list --fields` names them"
            raise EarshotError(f"--where {text!r}: no event has a field {field!r}{hint}")
        found = _value(value)
        if symbol in ("<", "<=", ">", ">=") and not isinstance(found, (int, float)):
            raise EarshotError(f"--where {text!r}: {symbol} compares with a number, and {value!r} is none")
        return cls(field, symbol, found, found if isinstance(found, str) else value)

    def matches(self, fields: Mapping[str, Any]) -> bool:
        """Whether an event with these fields, dotted names included, is meant."""
        if self.field not in fields:
            return False
        found = fields[self.field]
        as_text = self.symbol == "~" or (isinstance(found, str) and self.symbol in ("==", "=", "!="))
        try:
            return _OPERATORS[self.symbol](found, self.text if as_text else self.value)
        except TypeError:  # text where a number was asked for
            return False


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip("'")


@cache
def known_fields() -> frozenset[str]:
    """Every field that some event has, dotted where it is nested; `timings_ms.*` where the names are not fixed."""
    names = set(Envelope.__struct_fields__)
    for kind in body_types().values():
        names |= set(_field_names(mi.type_info(kind)))
    return frozenset(names)


def _field_names(info: mi.Type) -> Iterator[str]:
    if isinstance(info, mi.StructType):
        for field in info.fields:
            yield field.encode_name
            yield from (f"{field.encode_name}.{name}" for name in _field_names(field.type))
    elif isinstance(info, mi.DictType):
        yield ANY_NAME


def _is_known(field: str) -> bool:
    """Whether some event may have it: below a dictionary are names of all kinds."""
    names = known_fields()
    above = [at for at, letter in enumerate(field) if letter == "."]
    return field in names or any(f"{field[:at]}.{ANY_NAME}" in names for at in above)


def fields_of(message: Message) -> dict[str, Any]:
    """All fields of an event by dotted name; the body's come before the envelope's."""
    return {
        **{name: getattr(message.envelope, name) for name in Envelope.__struct_fields__},
        **dict(_flat(msgspec.to_builtins(message.body))),
    }


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        yield above + name, value
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")


@dataclass(frozen=True)
class Wanted:
    """What is to be shown. An empty part asks for nothing."""

    topics: tuple[str, ...] = ()
    """Prefixes (`speech`) or globs (`*.finished`)."""
    turn: str = ""
    """A turn's name or its beginning."""
    stream: str = ""
    actor: str = ""
    """The sender, or the actor that the event is about; `whisper` means all of them."""
    where: tuple[Condition, ...] = ()

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """The shortest prefixes under which all that is wanted comes."""
        return tuple({GLOB.split(topic)[0] for topic in self.topics}) or ("",)

    def matches(self, message: Message) -> bool:
        """Whether this event is to be shown."""
        envelope = message.envelope
        return (
            self.is_topic(message.topic)
            and envelope.turn.startswith(self.turn)
            and self.stream in ("", envelope.stream)
            and (not self.actor or any(_is_actor(self.actor, name) for name in _actors(message)))
            and (not self.where or self._holds(message))
        )

    def is_topic(self, topic: str) -> bool:
        """Whether events of this topic may be wanted."""
        if not self.topics:
            return topic not in HOUSEKEEPING
        return any(fnmatchcase(topic, wanted) if GLOB.search(wanted) else topic.startswith(wanted) for wanted in self.topics)

    def _holds(self, message: Message) -> bool:
        fields = fields_of(message)
        return all(condition.matches(fields) for condition in self.where)


def _actors(message: Message) -> Iterable[str]:
    worker = getattr(message.body, "worker", "")
    return (message.envelope.sender, getattr(message.body, "actor", ""), str(worker).partition("/")[0])


def _is_actor(wanted: str, name: str) -> bool:
    return name == wanted or (name.startswith(wanted + "-") and name.removeprefix(wanted + "-").isdecimal())


def wanted(topics: Sequence[str], *, turn: str = "", stream: str = "", actor: str = "", where: Sequence[str] = ()) -> Wanted:
    """Read the options of the command line. Raise EarshotError for a filter through which nothing can ever pass."""
    for topic in topics:
        if not any(_could_match(topic, known) for known in body_types()):
            close = difflib.get_close_matches(topic, body_types(), n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else "`supervisor topic list` names them"
            raise EarshotError(f"no topic begins with or matches {topic!r}; {hint}")
    return Wanted(tuple(topics), turn, stream, actor, tuple(Condition.parse(text) for text in where))


def _could_match(topic: str, known: str) -> bool:
    return fnmatchcase(known, topic) if GLOB.search(topic) else known.startswith(topic) or topic.startswith(f"{known}/")
