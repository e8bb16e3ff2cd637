"""The picture of turns: a lane for each actor, a bar for each part, all text inside, and no word that was not asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.text import Text

from bus.errors import EarshotError
from bus.messages.turn import TurnRecord
from supervisor.anatomy import Anatomy, anatomy, lanes
from supervisor.views.turns_picture import draw, save
from tests.unit.supervisor.turns import DONE_AHEAD_MS, PARTS_MS, WALL_NS, attempt, record

LOST = attempt("transcribe", "whisper-1", 601, 603.5, "its worker died")
DONE = attempt("transcribe", "whisper-2", 604, 806, number=2)


def later(seconds: float, **changed: object) -> TurnRecord:
    return record(wall_ns=WALL_NS + round(seconds * 1e9), **changed)


def many() -> list[Anatomy]:
    turns = [later(5 * number) for number in range(6)]
    return [anatomy(turn) for turn in [*turns, later(31, attempts=[LOST, DONE]), later(31.5), later(40, parts={})]]


def ids(file: Path) -> set[str]:
    return {element.get("id", "") for element in ElementTree.parse(file).iter()}


def test_a_picture_of_one_turn_has_a_lane_for_each_actor_and_a_bar_for_each_part(tmp_path: Path) -> None:
    found = anatomy(record(attempts=[LOST, DONE]))
    save([found], tmp_path / "turn.svg", words=False)
    drawn = ids(tmp_path / "turn.svg")
    assert {f"lane-{name}" for name in lanes([found])} <= drawn
    assert {"lane-whisper-1", "lane-whisper-2"} <= drawn
    assert {f"turn-1-{part}" for part in PARTS_MS} <= drawn
    assert {"turn-1-lost-1", "turn-1-critical-path", "legend"} <= drawn


def test_a_picture_of_many_has_the_bars_of_each_turn_that_has_times(tmp_path: Path) -> None:
    save(many(), tmp_path / "turns.svg", words=False)
    drawn = ids(tmp_path / "turns.svg")
    for number in range(1, 9):
        assert {f"turn-{number}-{part}" for part in PARTS_MS} <= drawn
    assert "turn-7-lost-1" in drawn
    assert "turn-9-transcribe" not in drawn


def test_work_done_ahead_is_drawn_where_it_was(tmp_path: Path) -> None:
    save(AHEAD, tmp_path / "turn.svg", words=False)
    drawn = {name for name in ids(tmp_path / "turn.svg") if name.endswith("-ahead")}
    assert drawn == {"turn-1-transcribe-ahead", "turn-1-first_token-ahead"}


LITTLE = {"endpoint_wait": 30.0, "transcribe": 40.0, "first_token": 1.0, "generate": 900.0}
ONE = [anatomy(record(attempts=[LOST, DONE]))]
AT_ONCE = [anatomy(later(0.15 * number)) for number in range(7)]
SHORT = [anatomy(later(number, parts=dict.fromkeys(PARTS_MS, 3.0))) for number in range(9)]
QUICK = [anatomy(record(parts=LITTLE))]
AHEAD = [anatomy(record(parts=DONE_AHEAD_MS))]


@pytest.mark.parametrize(
    "turns", [ONE, QUICK, AHEAD, many()[:-1], AT_ONCE, SHORT], ids=["one", "quick", "ahead", "many", "at once", "short"]
)
@pytest.mark.parametrize("words", [False, True])
def test_no_text_is_cut_and_no_two_texts_lie_over_each_other(turns: list[Anatomy], words: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = draw(turns, words=words)
    figure.draw_without_rendering()  # the layout is found in the first drawing
    drawn: dict[Text, None] = {}
    monkeypatch.setattr(Text, "draw", lambda text, _renderer: drawn.setdefault(text))
    figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn if text.get_text() and text.get_visible()]
    assert len(boxes) > 15
    for text, box in boxes:
        inside = figure.bbox
        assert inside.x0 <= box.x0 <= box.x1 <= inside.x1 + 1, text
        assert inside.y0 <= box.y0 <= box.y1 <= inside.y1 + 1, text
    for place, (text, box) in enumerate(boxes):
        for other, other_box in boxes[place + 1 :]:
            assert not box.padded(-1).overlaps(other_box.padded(-1)), f"{text!r} over {other!r}"


def test_what_was_said_is_in_the_picture_only_when_asked_for(tmp_path: Path) -> None:
    for turns in ([anatomy(record())], many()):
        save(turns, tmp_path / "silent.svg", words=False)
        assert "What time" not in (tmp_path / "silent.svg").read_text()
        save(turns, tmp_path / "spoken.svg", words=True)
        assert "What time" in (tmp_path / "spoken.svg").read_text()


def test_the_same_turns_give_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save(many(), tmp_path / name, words=False)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_without_matplotlib_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EarshotError, match=r"needs matplotlib, which is not installed: \S+ -m pip install matplotlib$"):
        save([anatomy(record())], tmp_path / "turn.svg", words=False)


def test_a_file_that_cannot_be_written_and_nothing_to_draw_are_told(tmp_path: Path) -> None:
    with pytest.raises(EarshotError, match=r"cannot write .*: No such file or directory"):
        save([anatomy(record())], tmp_path / "nowhere" / "turn.svg", words=False)
    with pytest.raises(EarshotError, match="there is no turn to draw yet"):
        save([anatomy(record(parts={}))], tmp_path / "turn.svg", words=False)
