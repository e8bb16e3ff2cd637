"""What can be said of what a language model writes. Pure: pieces of text in, speakable text out.

Language models are told to write no markup, and write it all the same. Gone are: thoughts between `<think>` tags, code blocks, tables, the
marks of emphasis, headings, lists and quotations, tags, emoji. A link is its text, a bare address the word "link". The end of a line
stays, for it is the end of a clause too.

A text is read once, character by character, and what cannot be decided yet waits for the next piece: so the result does not depend on
how the text was cut.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_MARKER: Final = re.compile(r"(?:#{1,6}|[-*+•]|\d{1,3}[.)]|>)[ \t]+")
_MARKER_BEGUN: Final = re.compile(r"(?:#{1,6}|[-*+•]|\d{1,3}[.)]?|>)[ \t]*\Z")
_RULE: Final = re.compile(r"(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|(?:=[ \t]*){3,})(?=\n|\Z)")
_RULE_BEGUN: Final = re.compile(r"(?:(?:-[ \t]*)+|(?:\*[ \t]*)+|(?:_[ \t]*)+|(?:=[ \t]*)+)\Z")
_FENCES: Final = ("```", "~~~")
_TAG: Final = re.compile(r"</?[A-Za-z][^<>\n]{0,80}>")
_TAG_BEGUN: Final = re.compile(r"<(?:/?(?:[A-Za-z][^<>\n]{0,80})?)?\Z")
_ADDRESS: Final = re.compile(r"(?:https?://|www\.)(?=\S)", re.IGNORECASE)
_ADDRESS_BEGINNINGS: Final = ("https://", "http://", "www.")
_ADDRESS_END: Final = frozenset(" \t\n<>\"'`()[]{}|")
_SENTENCE_MARKS: Final = frozenset(".,;:!?…")
_THOUGHT_BEGINS, _THOUGHT_ENDS = "<think", "</think>"
_LONGEST_TARGET: Final = 2_000
"""Of a link, in characters: a bracket that is never closed must not swallow the answer."""


class Speakable:
    """Makes one reply speakable, piece by piece."""

    def __init__(self) -> None:
        self._rest = ""  # not decided yet
        self._at_line_start = True
        self._before = "\n"  # the last character that was read, markup too
        self._said_blank = True  # what was given out last is blank, or nothing was
        self._blank = ""  # blank space that is given out with the next visible character
        self._skipping = ""  # `thought`, a fence, `line`, `target` of a link, `address`
        self._skipped = 0
        self._held = ""  # marks at what may be the end of an address

    def feed(self, piece: str) -> str:
        """Take the next piece; return what can be said of it."""
        self._rest += piece.replace("\r\n", "\n").replace("\r", "\n")
        return self._read(final=False)

    def finish(self) -> str:
        """The reply is complete; return what still waited."""
        return self._read(final=True)

    def _read(self, *, final: bool) -> str:
        said: list[str] = []
        place = 0
        while place < len(self._rest):
            used, text = self._step(place, final)
            if used == 0 and not final:
                break
            used = used or 1
            self._before = self._rest[place + used - 1]
            place += used
            said.append(self._given(text))
        self._rest = self._rest[place:]
        if final and self._held:
            said.append(self._given(self._held))
            self._held = ""
        return "".join(said)

    def _given(self, text: str) -> str:
        """Text on its way out: no blank space at the beginning, and none twice. A line's end outweighs a space."""
        out = []
        for char in text:
            if char in " \n":
                if not self._said_blank:
                    self._blank = "\n" if "\n" in (char, self._blank) else " "
            else:
                out.append(self._blank + char)
                self._blank, self._said_blank = "", False
        return "".join(out)

    def _step(self, place: int, final: bool) -> tuple[int, str]:
        """Read on at `place`: how many characters are decided, 0 for none, and what is said of them."""
        if self._skipping:
            return self._skip(place, final)
        if self._at_line_start:
            return self._line_start(place, final)
        return self._inline(place, final)

    # -- what is passed over ------------------------------------------------------------------------------------------

    def _skip(self, place: int, final: bool) -> tuple[int, str]:
        text = self._rest
        match self._skipping:
            case "thought":
                end = text.lower().find(_THOUGHT_ENDS, place)
                if end >= 0:
                    self._skipping = ""
                    return end + len(_THOUGHT_ENDS) - place, "\n" if self._before == "\n" else " "
                return max(0, len(text) - place - (0 if final else len(_THOUGHT_ENDS) - 1)), ""
            case "line":
                end = text.find("\n", place)
                return self._until_line_end(place, end)
            case "target":
                char = text[place]
                self._skipped += 1
                if char in ")\n" or self._skipped > _LONGEST_TARGET:
                    self._skipping = ""
                    return (1, "") if char == ")" else self._inline(place, final)
                return 1, ""
            case "address":
                return self._address(place)
            case fence:
                return self._code(place, fence, final)

    def _until_line_end(self, place: int, end: int) -> tuple[int, str]:
        if end < 0:
            return len(self._rest) - place, ""
        self._skipping, self._at_line_start = "", True
        return end + 1 - place, "\n"

    def _code(self, place: int, fence: str, final: bool) -> tuple[int, str]:
        """Whole lines of a code block, until the one that closes it."""
        end = self._rest.find("\n", place)
        if end < 0 and not final:
            return 0, ""
        line = self._rest[place : end if end >= 0 else len(self._rest)]
        if line.strip().startswith(fence):
            self._skipping, self._at_line_start = "", True
        return (end + 1 if end >= 0 else len(self._rest)) - place, "\n"

    def _address(self, place: int) -> tuple[int, str]:
        """The rest of an address. A full stop at its end is the sentence's."""
        char = self._rest[place]
        if char in _ADDRESS_END:
            self._skipping, held, self._held = "", self._held, ""
            used, text = self._plain(place)
            return used, held + text
        self._held = self._held + char if char in _SENTENCE_MARKS else ""
        return 1, ""

    # -- the beginning of a line ----------------------------------------------------------------------------------------

    def _line_start(self, place: int, final: bool) -> tuple[int, str]:
        text = self._rest
        char = text[place]
        if char in " \t":
            return 1, ""
        if char == "\n":
            return 1, "\n"
        for fence in _FENCES:
            if text.startswith(fence, place):
                return self._begin_code(place, fence, final)
            if not final and fence.startswith(text[place:]):
                return 0, ""
        if char == "|":
            self._skipping, self._at_line_start = "line", False
            return 1, ""
        if _RULE.match(text, place) or (not final and _RULE_BEGUN.match(text, place)):
            rule = _RULE.match(text, place)
            if rule is None or (rule.end() == len(text) and not final):
                return 0, ""
            return rule.end() - place, ""
        if marker := _MARKER.match(text, place):
            return marker.end() - place, ""  # and perhaps another: a list in a quotation
        if not final and _MARKER_BEGUN.match(text, place):
            return 0, ""
        self._at_line_start = False
        return self._inline(place, final)

    def _begin_code(self, place: int, fence: str, final: bool) -> tuple[int, str]:
        """A fence, with the name of its language. One that is closed in the same line is no block."""
        end = self._rest.find("\n", place)
        if end < 0 and not final:
            return 0, ""
        line = self._rest[place + len(fence) : end if end >= 0 else len(self._rest)]
        if fence[0] in line:
            self._at_line_start = False
            return len(fence), ""
        self._skipping = fence
        return (end + 1 if end >= 0 else len(self._rest)) - place, "\n"

    # -- within a line --------------------------------------------------------------------------------------------------

    def _inline(self, place: int, final: bool) -> tuple[int, str]:
        text = self._rest
        char = text[place]
        if char == "<":
            return self._tag(place, final)
        if char in "hHwW" and not self._before.isalnum():
            if address := _ADDRESS.match(text, place):
                self._skipping = "address"
                return address.end() - place, "link"
            rest = text[place:].lower()
            if not final and any(beginning.startswith(rest) for beginning in _ADDRESS_BEGINNINGS):
                return 0, ""
        if char in "]*_\\":
            if place + 1 == len(text) and not final:
                return 0, ""
            return self._with_next(place, text[place + 1 : place + 2])
        return self._plain(place)

    def _tag(self, place: int, final: bool) -> tuple[int, str]:
        text = self._rest
        if tag := _TAG.match(text, place):
            if tag[0].lower().startswith(_THOUGHT_BEGINS):
                self._skipping = "thought"
            return tag.end() - place, "\n" if tag[0].lower().startswith("<br") else ""
        if not final and _TAG_BEGUN.match(text, place):
            return 0, ""
        return 1, "<"

    def _with_next(self, place: int, after: str) -> tuple[int, str]:
        """Marks of which the neighbours decide; `after` is empty at the end of the reply."""
        char, before = self._rest[place], self._before
        if char == "]":
            if after == "(":
                self._skipping, self._skipped = "target", 0
                return 2, ""
            return 1, ""
        if char == "*":
            return 1, " times " if before.isspace() and after.isspace() and after != "\n" and before != "\n" else ""
        if char == "_":
            return 1, " " if before.isalnum() and after.isalnum() else ""
        return (1, "") if after and not after.isalnum() else (1, " ")

    def _plain(self, place: int) -> tuple[int, str]:
        char = self._rest[place]
        if char == "\n":
            self._at_line_start = True
            return 1, "\n"
        if char.isspace():
            return 1, " "
        if char in "[`" or (char == "!" and self._rest.startswith("![", place)):
            return 1, ""
        if char in "|~":
            return 1, " "
        return 1, char if _is_sayable(char) else ""


def _is_sayable(char: str) -> bool:
    """Whether a character is more than a picture, a mark of a writing system's own making, or nothing at all."""
    if char < "\x7f":
        return char >= " "
    category = unicodedata.category(char)
    if category in ("Cc", "Cf", "Cs", "Co", "Cn", "Me"):
        return False
    if (
        "\u2190" <= char <= "\u21ff" or "\ufe00" <= char <= "\ufe0f" or "\U0001f3fb" <= char <= "\U0001f3ff"
    ):  # arrows; how an emoji is to look
        return False
    return category != "So" or char < "\u2190"  # degrees and trade marks are said, smileys are not


def speakable(text: str) -> str:
    """What can be said of a whole text."""
    one = Speakable()
    return one.feed(text) + one.finish()
